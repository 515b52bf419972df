import { spawn, type ChildProcess } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { stringify } from 'yaml';

export const API_KEY = 'e2ekey';
export const API_SECRET = 'an-end-to-end-secret-that-is-long-enough';

const START_TIMEOUT_MS = 60_000;
/** Tests and benches run in the project's folder; benches as bundles that lie elsewhere. */
const PROJECT_DIR = path.resolve('.');

export type SluiceChild = {
  readonly process: ChildProcess;
  readonly dir: string;
  readonly recordingsDir: string;
  /** Its own TMPDIR, so that a leftover file can be told from anybody else's. */
  readonly tmpDir: string;
  /** `http://…` of its API, or of its health page when the role has no API. */
  readonly url: string;
  /** Resolves with the exit code once the process is gone. */
  readonly exited: Promise<number | null>;
  /** Everything it wrote to stderr so far. */
  readonly log: () => string;
  /** Ends it if it still runs and removes its folders. */
  readonly cleanUp: () => Promise<void>;
};

/**
 * The built program (dist/main.js serve …) with folders of its own, ports chosen by the system, once it says that it
 * is ready.
 */
export async function spawnSluice(options: {
  role?: 'server' | 'ingress' | 'egress';
  config: Record<string, unknown>;
  env?: (dir: string) => Record<string, string>;
}): Promise<SluiceChild> {
  const { role, config, env } = options;
  // Short: Chromium's sockets lie below it.
  const dir = await mkdtemp(path.join(tmpdir(), role === undefined ? 'se-' : `sr-${role}-`));
  const recordingsDir = path.join(dir, 'recordings');
  const tmpDir = path.join(dir, 't');
  const configFile = path.join(dir, 'config.yaml');
  await mkdir(tmpDir);
  await writeFile(
    configFile,
    stringify({
      port: 0,
      bind_addresses: ['127.0.0.1'],
      keys: { [API_KEY]: API_SECRET },
      recordings_dir: recordingsDir,
      rtc: { udp_port: 0, tcp_port: 0 },
      ...config,
    }),
  );
  const roles = role === undefined ? [] : [role];
  const child = spawn(
    process.execPath,
    [path.join(PROJECT_DIR, 'dist', 'main.js'), 'serve', ...roles, '--config', configFile],
    {
      cwd: dir,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, TMPDIR: tmpDir, ...env?.(dir) },
    },
  );
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const exited = new Promise<number | null>((resolve) => child.once('close', (code) => resolve(code)));
  const cleanUp = async (): Promise<void> => {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGKILL');
      await exited;
    }
    await rm(dir, { recursive: true, force: true });
  };
  const deadlineMs = Date.now() + START_TIMEOUT_MS;
  for (;;) {
    const port = /(?:Health|Page and API)\s+https?:\/\/[^:]+:(\d+)\//.exec(stdout)?.[1];
    // The line after the address list: everything has been started by then.
    if (port !== undefined && /Ready for work|Next:/.test(stdout)) {
      const url = `http://127.0.0.1:${port}`;
      return { process: child, dir, recordingsDir, tmpDir, url, exited, log: () => stderr, cleanUp };
    }
    if (child.exitCode !== null || Date.now() > deadlineMs) {
      await cleanUp();
      throw new Error(
        `${role ?? 'the program'} did not start (exit code ${String(child.exitCode)}): ${stderr.slice(-4000)}`,
      );
    }
    await delay(50);
  }
}
