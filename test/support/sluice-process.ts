import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { spawnSluice } from './sluice-child.ts';

export { API_KEY, API_SECRET } from './sluice-child.ts';

const STOP_TIMEOUT_MS = 60_000;

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

/** Starts the built program with all its services. */
export async function startSluiceProcess(
  options: { config?: Record<string, unknown>; env?: Record<string, string> } = {},
): Promise<SluiceProcess> {
  const markerOf = (dir: string): string => path.basename(dir);
  const child = await spawnSluice({
    config: { ingress: { rtmp_port: 0, whip_port: 0 }, ...options.config },
    env: (dir) => ({ SLUICE_E2E_MARKER: markerOf(dir), ...options.env }),
  });
  const { url: apiUrl, recordingsDir, tmpDir, cleanUp, log } = child;
  const pid = child.process.pid ?? 0;
  try {
    const status = (await (await fetch(`${apiUrl}/status`)).json()) as {
      urls: { ws: string };
      ports: { rtmp: number; whip: number };
    };
    return {
      pid,
      apiUrl,
      wsUrl: apiUrl.replace('http', 'ws'),
      rtmpPort: status.ports.rtmp,
      whipUrl: `http://127.0.0.1:${status.ports.whip}/w`,
      ...{ recordingsDir, tmpDir, log, cleanUp },
      end: (signal = 'SIGINT') => {
        child.process.kill(signal);
        return Promise.race([
          child.exited,
          delay(STOP_TIMEOUT_MS, undefined, { ref: false }).then(() => {
            throw new Error(`still running ${STOP_TIMEOUT_MS} ms after ${signal}\n${log().slice(-4000)}`);
          }),
        ]);
      },
      descendants: () => processesMarked(`SLUICE_E2E_MARKER=${markerOf(child.dir)}`, pid),
    };
  } catch (error) {
    await cleanUp();
    throw error;
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
