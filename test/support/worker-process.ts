import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { stringify } from 'yaml';
import { API_KEY, API_SECRET } from './sluice-process.ts';

export type RoleProcess = {
  readonly pid: number;
  /** `GET /status` of the process. */
  status(): Promise<{ ports: Record<string, number>; urls: Record<string, string>; services: string[] }>;
  /** Where /readyz, /status and /metrics are. */
  readonly healthUrl: string;
  readonly recordingsDir: string;
  log(): string;
  /** Resolves with the exit code once the process is gone. */
  readonly exited: Promise<number | null>;
  signal(name: NodeJS.Signals): void;
  cleanUp(): Promise<void>;
};

const START_TIMEOUT_MS = 60_000;
const PROJECT_DIR = path.resolve(import.meta.dirname, '..', '..');

/** One role of the built program (dist/main.js serve ROLE) with its own folders, ports chosen by the system. */
export async function startRole(
  role: 'server' | 'ingress' | 'egress',
  config: Record<string, unknown>,
): Promise<RoleProcess> {
  const dir = await mkdtemp(path.join(tmpdir(), `sr-${role}-`));
  const recordingsDir = path.join(dir, 'recordings');
  const tmpDir = path.join(dir, 't');
  await mkdir(tmpDir);
  const configFile = path.join(dir, 'config.yaml');
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
  const child = spawn(
    process.execPath,
    [path.join(PROJECT_DIR, 'dist', 'main.js'), 'serve', role, '--config', configFile],
    { cwd: dir, stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, TMPDIR: tmpDir } },
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
  let port: string | undefined;
  while (port === undefined || !/Ready for work|Next:/.test(stdout)) {
    if (child.exitCode !== null || Date.now() > deadlineMs) {
      await cleanUp();
      throw new Error(`${role} did not start: ${stderr.slice(-4000)}`);
    }
    await delay(50);
    port = /(?:Health|Page and API)\s+https?:\/\/[^:]+:(\d+)\//.exec(stdout)?.[1];
  }
  const healthUrl = `http://127.0.0.1:${port}`;
  return {
    pid: child.pid ?? 0,
    healthUrl,
    recordingsDir,
    status: async () =>
      (await (await fetch(`${healthUrl}/status`)).json()) as Awaited<ReturnType<RoleProcess['status']>>,
    log: () => stderr,
    exited,
    signal: (name) => child.kill(name),
    cleanUp,
  };
}
