import { spawn } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import { ServiceError } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import { redactText } from '../../base/redact.ts';

export type FfmpegExit = {
  exitCode: number | null;
  signal: string | null;
  /** We asked it to end (kill or abort). */
  killed: boolean;
  /** Last lines of stderr, redacted. */
  stderrTail: string;
};

export type FfmpegProcess = {
  readonly pid: number | undefined;
  readonly stdin: Writable;
  readonly stdout: Readable;
  /** The process is gone; what it wrote last may still be unread. Never rejects. */
  readonly ended: Promise<void>;
  /** stdout, and the further outputs `pipe:3`, `pipe:4`, …. */
  readonly outputs: readonly Readable[];
  /** Settles once, after the streams are closed; never rejects. */
  readonly exited: Promise<FfmpegExit>;
  stderrTail(): string;
  /** SIGTERM, and SIGKILL after graceMs; resolves when the process is gone. Idempotent. */
  kill(graceMs?: number): Promise<FfmpegExit>;
};

export type SpawnFfmpegOptions = {
  ffmpegPath: string;
  args: readonly string[];
  logger: Logger;
  /** Aborting kills the process. */
  signal?: AbortSignal;
  cwd?: string;
  /** Pipes to read from beside stdout. */
  extraOutputs?: number;
  /** Added to the environment of this process. */
  env?: Readonly<Record<string, string>>;
};

const STDERR_LINES = 40;
const DEFAULT_GRACE_MS = 2_000;

/**
 * Starts ffmpeg with piped stdin and stdout. stderr is kept as a ring of its last lines, so that a failure can say
 * why. A broken stdin pipe never throws: the exit tells.
 */
export function spawnFfmpeg(options: SpawnFfmpegOptions): FfmpegProcess {
  const { logger } = options;
  const child = spawn(options.ffmpegPath, ['-hide_banner', '-nostats', ...options.args], {
    stdio: [
      'pipe',
      'pipe',
      'pipe',
      ...Array.from({ length: options.extraOutputs ?? 0 }, () => 'pipe' as const),
    ],
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    ...(options.env === undefined ? {} : { env: { ...process.env, ...options.env } }),
  });
  const tail = new LineRing(STDERR_LINES);
  let killed = false;
  let killTimer: NodeJS.Timeout | undefined;
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    tail.push(text);
  });
  child.stdin.on('error', (error) => {
    logger.debug({ err: error }, 'ffmpeg stdin closed');
  });
  const ended = new Promise<void>((resolve) => {
    child.once('exit', () => {
      resolve();
    });
  });
  const exited = new Promise<FfmpegExit>((resolve) => {
    const settle = (exitCode: number | null, signal: string | null): void => {
      clearTimeout(killTimer);
      options.signal?.removeEventListener('abort', onAbort);
      resolve({ exitCode, signal, killed, stderrTail: redactText(tail.text()) });
    };
    child.once('close', settle);
    child.once('error', (error) => {
      tail.push(error.message);
      if (child.pid === undefined) {
        settle(-1, null);
      }
    });
  });
  const kill = (graceMs = DEFAULT_GRACE_MS): Promise<FfmpegExit> => {
    if (!killed && child.exitCode === null && child.signalCode === null) {
      killed = true;
      child.kill('SIGTERM');
      killTimer = setTimeout(() => child.kill('SIGKILL'), graceMs);
    }
    return exited;
  };
  const onAbort = (): void => void kill();
  if (options.signal?.aborted === true) {
    onAbort();
  } else {
    options.signal?.addEventListener('abort', onAbort, { once: true });
  }
  return {
    pid: child.pid,
    stdin: child.stdin,
    stdout: child.stdout,
    ended,
    outputs: [child.stdout, ...(child.stdio.slice(3) as Readable[])],
    exited,
    stderrTail: () => redactText(tail.text()),
    kill,
  };
}

/** Why an ffmpeg run did not succeed, as an error; undefined when it did or when we ended it. */
export function exitError(exit: FfmpegExit, what: string): ServiceError | undefined {
  if (exit.exitCode === 0 || exit.killed) {
    return undefined;
  }
  const how = exit.signal === null ? `exit code ${String(exit.exitCode)}` : `signal ${exit.signal}`;
  return new ServiceError('internal', `${what}: ffmpeg ended with ${how}: ${lastLine(exit.stderrTail)}`);
}

function lastLine(text: string): string {
  return text.trim().split('\n').at(-1) || 'no message';
}

class LineRing {
  readonly #lines: string[] = [];
  readonly #capacity: number;
  #partial = '';

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  push(text: string): void {
    const lines = (this.#partial + text).split('\n');
    this.#partial = (lines.pop() ?? '').slice(-2_000);
    this.#lines.push(...lines.map((line) => line.slice(0, 2_000)));
    this.#lines.splice(0, this.#lines.length - this.#capacity);
  }

  text(): string {
    return [...this.#lines, this.#partial].filter((line) => line !== '').join('\n');
  }
}
