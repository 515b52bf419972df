import { spawn, type ChildProcess } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { stringify } from 'yaml';

export const API_KEY = 'e2ekey';
export const API_SECRET = 'an-end-to-end-secret-that-is-long-enough';

const START_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 60_000;
/** Tests and benches run in the project's folder; benches as bundles that lie elsewhere. */
const PROJECT_DIR = path.resolve('.');

export type SluiceProcess = {
  readonly pid: number;
  readonly apiUrl: string;
  readonly wsUrl: string;
  readonly rtmpPort: number;
  /** The WHIP endpoint, without a key. */
  readonly whipUrl: string;
  readonly recordingsDir: string;
  /** Its own TMPDIR, so that a leftover file can be told from anybody else's. */
  readonly tmpDir: string;
  /** Everything it wrote to stderr so far. */
  log(): string;
  /** Sends the signal and resolves with the exit code. */
  end(signal?: 'SIGINT' | 'SIGTERM'): Promise<number | null>;
  /** Processes that belong to it right now (itself excluded), whatever their parent is by now. */
  descendants(): Promise<{ pid: number; command: string }[]>;
  /** Ends it if it still runs and removes its folders. */
  cleanUp(): Promise<void>;
};

/** Starts the built program (dist/main.js serve) on free ports with folders of its own. */
export async function startSluiceProcess(
  options: { config?: Record<string, unknown>; env?: Record<string, string> } = {},
): Promise<SluiceProcess> {
  const dir = await mkdtemp(path.join(tmpdir(), 'se-'));
  const recordingsDir = path.join(dir, 'recordings');
  const tmpDir = path.join(dir, 't');
  const configFile = path.join(dir, 'config.yaml');
  await writeFile(
    configFile,
    stringify({
      port: 0,
      bind_addresses: ['127.0.0.1'],
      keys: { [API_KEY]: API_SECRET },
      recordings_dir: recordingsDir,
      rtc: { udp_port: 0, tcp_port: 0 },
      ingress: { rtmp_port: 0, whip_port: 0 },
      ...options.config,
    }),
  );
  await mkdir(tmpDir);
  const marker = `SLUICE_E2E_MARKER=${path.basename(dir)}`;
  const child = spawn(
    process.execPath,
    [path.join(PROJECT_DIR, 'dist', 'main.js'), 'serve', '--config', configFile],
    {
      cwd: dir,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        ...process.env,
        TMPDIR: tmpDir,
        SLUICE_E2E_MARKER: path.basename(dir),
        ...options.env,
      },
    },
  );
  let stderr = '';
  let stdout = '';
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  const exited = new Promise<number | null>((resolve) => child.once('close', (code) => resolve(code)));

  const cleanUp = async (): Promise<void> => {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGKILL');
      await exited;
    }
    await rm(dir, { recursive: true, force: true });
  };
  try {
    const apiUrl = await announcedUrl(
      child,
      () => stdout,
      () => stderr,
    );
    const status = (await (await fetch(`${apiUrl}/status`)).json()) as {
      urls: { ws: string };
      ports: { rtmp: number; whip: number };
    };
    return {
      pid: child.pid ?? 0,
      apiUrl,
      wsUrl: apiUrl.replace('http', 'ws'),
      rtmpPort: status.ports.rtmp,
      whipUrl: `http://127.0.0.1:${status.ports.whip}/w`,
      recordingsDir,
      tmpDir,
      log: () => stderr,
      end: (signal = 'SIGINT') => {
        child.kill(signal);
        return Promise.race([
          exited,
          delay(STOP_TIMEOUT_MS, undefined, { ref: false }).then(() => {
            throw new Error(`still running ${STOP_TIMEOUT_MS} ms after ${signal}\n${stderr.slice(-4000)}`);
          }),
        ]);
      },
      descendants: () => processesMarked(marker, child.pid ?? 0),
      cleanUp,
    };
  } catch (error) {
    await cleanUp();
    throw error;
  }
}

/** The program says where it listens on stdout; port 0 made the port unknown before. */
async function announcedUrl(
  child: ChildProcess,
  stdout: () => string,
  stderr: () => string,
): Promise<string> {
  const deadlineMs = Date.now() + START_TIMEOUT_MS;
  for (;;) {
    const port = /Page and API\s+https?:\/\/[^:]+:(\d+)\//.exec(stdout())?.[1];
    // The line after the address list: everything has been started by then.
    if (port !== undefined && stdout().includes('Next:')) {
      return `http://127.0.0.1:${port}`;
    }
    if (child.exitCode !== null || Date.now() > deadlineMs) {
      throw new Error(
        `the program did not start (exit code ${String(child.exitCode)}): ${stderr().slice(-4000)}`,
      );
    }
    await delay(50);
  }
}

/** Children inherit the environment, so the marker finds them even after their parent ended. Linux only. */
export async function processesMarked(
  marker: string,
  except: number,
): Promise<{ pid: number; command: string }[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
  const found: { pid: number; command: string }[] = [];
  for (const pid of pids) {
    const environment = await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '');
    if (pid !== except && environment.split('\0').includes(marker)) {
      const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
      found.push({ pid, command: command.replaceAll('\0', ' ').slice(0, 200) });
    }
  }
  return found;
}
