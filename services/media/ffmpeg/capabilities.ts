import { execFile } from 'node:child_process';
import { ServiceError } from '../../base/errors.ts';

export type FfmpegCapabilities = {
  path: string;
  version: string;
  encoders: ReadonlySet<string>;
  /** Output formats (`-f`). */
  muxers: ReadonlySet<string>;
  /** Protocols it can write to: file, rtmp, srt… */
  outputProtocols: ReadonlySet<string>;
  /** false: static builds whose resolver crashes; only IP literals work. */
  resolvesHostNames: boolean;
  /** What an operator should know, one sentence each; empty for a complete build. */
  limits: readonly string[];
};

const PROBE_TIMEOUT_MS = 15_000;
const MAX_OUTPUT_BYTES = 4_000_000;

/** Encoders and protocols Sluice uses, and what fails without them. */
const WANTED: readonly { set: 'encoders' | 'outputProtocols'; name: string; without: string }[] = [
  { set: 'encoders', name: 'libx264', without: 'video that must be transcoded is refused' },
  { set: 'encoders', name: 'libopus', without: 'RTMP audio cannot enter a room' },
  { set: 'encoders', name: 'aac', without: 'MP4 recordings have no AAC audio' },
  { set: 'outputProtocols', name: 'srt', without: 'SRT outputs are refused' },
];

/**
 * Asks the binary what it can do by running it, instead of guessing from its version.
 * @throws ServiceError failed_precondition when it does not run.
 */
export async function probeFfmpeg(path: string): Promise<FfmpegCapabilities> {
  const version = await run(path, ['-hide_banner', '-version']);
  if (version.exitCode !== 0) {
    throw new ServiceError('failed_precondition', `"${path}" does not run as ffmpeg: ${version.reason}`, {
      scope: 'node',
    });
  }
  const [encoders, muxers, protocols, resolver] = await Promise.all([
    run(path, ['-hide_banner', '-encoders']),
    run(path, ['-hide_banner', '-muxers']),
    run(path, ['-hide_banner', '-protocols']),
    // Port 9 refuses; only the way the process ends matters (a static glibc crashes in getaddrinfo).
    run(path, ['-v', 'quiet', '-i', 'tcp://localhost:9?timeout=1000000']),
  ]);
  const capabilities = {
    path,
    version: parseVersion(version.stdout),
    encoders: parseListing(encoders.stdout),
    muxers: parseListing(muxers.stdout),
    outputProtocols: parseOutputProtocols(protocols.stdout),
    resolvesHostNames: resolver.signal !== 'SIGSEGV' && resolver.exitCode !== 139,
  };
  return { ...capabilities, limits: describeLimits(capabilities) };
}

function describeLimits(capabilities: Omit<FfmpegCapabilities, 'limits'>): string[] {
  const limits = WANTED.filter(({ set, name }) => !capabilities[set].has(name)).map(
    ({ name, without }) => `no ${name}: ${without}`,
  );
  if (!capabilities.resolvesHostNames) {
    limits.push('crashes on host names: outputs need an IP address');
  }
  return limits;
}

/** First line of `ffmpeg -version`: "ffmpeg version 5.1.9-0+deb12u1 Copyright …". */
export function parseVersion(text: string): string {
  return /^ffmpeg version (\S+)/.exec(text)?.[1] ?? 'unknown';
}

/** Names from `-encoders` / `-muxers`: a flag column, the name (comma separated), a description. */
export function parseListing(text: string): Set<string> {
  const names = new Set<string>();
  for (const line of text.split('\n')) {
    const name = /^ [A-Z.]*[A-Z][A-Z.]* +([\w,]+)/.exec(line)?.[1] ?? /^ {2}E +([\w,]+)/.exec(line)?.[1];
    for (const part of name?.split(',') ?? []) {
      names.add(part);
    }
  }
  return names;
}

/** Names below "Output:" of `-protocols`. */
export function parseOutputProtocols(text: string): Set<string> {
  const output = text.slice(text.indexOf('Output:') + 'Output:'.length);
  return new Set(output.split('\n').flatMap((line) => (line.trim() === '' ? [] : [line.trim()])));
}

type RunResult = { exitCode: number; signal: string | null; stdout: string; reason: string };

function run(path: string, args: string[]): Promise<RunResult> {
  return new Promise((resolve) => {
    execFile(
      path,
      args,
      { timeout: PROBE_TIMEOUT_MS, maxBuffer: MAX_OUTPUT_BYTES },
      (error, stdout, stderr) => {
        const exitCode = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
        const reason = error === null ? '' : stderr.trim().split('\n').at(-1) || error.message;
        resolve({ exitCode, signal: error?.signal ?? null, stdout, reason });
      },
    );
  });
}
