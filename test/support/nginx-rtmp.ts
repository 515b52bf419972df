import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { FlvReader } from '../../services/protocol/flv.ts';
import { freePort, untilAccepts } from './ports.ts';

/** Debian packages: nginx with its RTMP module, and the tool that signs its certificate. */
export const NGINX_RTMP_PACKAGES = ['nginx', 'libnginx-mod-rtmp', 'openssl'] as const;

const MODULE = '/usr/lib/nginx/modules/ngx_rtmp_module.so';
const RECORD_TIMEOUT_MS = 20_000;
const HOLD_TIMEOUT_MS = 60_000;

export type NginxRtmp = {
  port: number;
  /** Where publishers of `key` go. Keys that start with "refused" are rejected by nginx's on_publish. */
  url(key: string): string;
  /** Keys that were asked to publish, in order. */
  published: string[];
  /** Resolves when somebody (again) publishes the key. */
  publishing(key: string): Promise<void>;
  /** The recording of a publisher that has ended; recordings are handed out in order. */
  recorded(key: string): Promise<string>;
  /** All recordings of a key, ended or not, oldest first. */
  files(key: string): string[];
  /** Resolves when so many seconds of a running publisher lie on the disk. */
  holds(key: string, seconds: number): Promise<void>;
  /** Ends the server as a power cut does. */
  kill(): Promise<void>;
  restart(): Promise<void>;
  close(): Promise<void>;
};

/**
 * A streaming platform nobody here wrote: nginx-rtmp records all it is sent, and relays it to `pushTo`. Needs no root;
 * ends by process id.
 */
export async function startNginxRtmp(options: { pushTo?: string } = {}): Promise<NginxRtmp> {
  const nginx = ['/usr/sbin/nginx', '/usr/bin/nginx'].find((file) => existsSync(file));
  if (nginx === undefined || !existsSync(MODULE)) {
    throw new Error(
      `not installed: run apt-get install -y --no-install-recommends ${NGINX_RTMP_PACKAGES.join(' ')}`,
    );
  }
  const folder = await mkdtemp(path.join(tmpdir(), 'sluice-nginx-'));
  const recordings = path.join(folder, 'recordings');
  mkdirSync(recordings);
  const published: string[] = [];
  const ended = new Map<string, string[]>();
  const changed = new Set<() => void>();
  const callbacks = await startCallbacks((event) => {
    const key = event.get('name') ?? '';
    if (event.get('call') === 'publish') {
      published.push(key);
      queueMicrotask(notify);
      return !key.startsWith('refused');
    }
    if (event.get('call') === 'record_done') {
      ended.set(key, [...(ended.get(key) ?? []), event.get('path') ?? '']);
      notify();
    }
    return true;
  });
  const notify = (): void => {
    for (const check of [...changed]) {
      check();
    }
  };
  const until = async (condition: () => boolean, what: string): Promise<void> => {
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => {
        changed.delete(check);
        reject(new Error(`nginx: ${what} did not happen`));
      }, RECORD_TIMEOUT_MS);
      const check = (): void => {
        if (condition()) {
          clearTimeout(timer);
          changed.delete(check);
          resolve();
        }
      };
      changed.add(check);
      check();
    });
  };
  const port = await freePort();
  await writeFile(
    path.join(folder, 'nginx.conf'),
    configOf(folder, recordings, port, callbacks.port, options.pushTo),
  );
  let child: ChildProcess | undefined;
  const start = async (): Promise<void> => {
    child = spawn(
      nginx,
      ['-e', path.join(folder, 'error.log'), '-p', folder, '-c', path.join(folder, 'nginx.conf')],
      {
        stdio: 'ignore',
      },
    );
    await untilAccepts(port, child);
  };
  const kill = async (): Promise<void> => {
    const dying = child;
    child = undefined;
    if (dying !== undefined && dying.exitCode === null && dying.signalCode === null) {
      await new Promise<void>((resolve) => {
        dying.once('close', () => resolve());
        dying.kill('SIGKILL');
      });
    }
  };
  const filesOf = (key: string): string[] =>
    readdirSync(recordings)
      .filter((name) => name.startsWith(`${key}-`))
      .sort()
      .map((name) => path.join(recordings, name));
  await start();
  return {
    port,
    url: (key) => `rtmp://127.0.0.1:${port}/live/${key}`,
    published,
    publishing: (key) => {
      const before = published.filter((name) => name === key).length;
      return until(() => published.filter((name) => name === key).length > before, `publishing ${key}`);
    },
    async recorded(key) {
      await until(() => (ended.get(key) ?? []).length > 0, `the end of ${key}`);
      return ended.get(key)?.shift() ?? '';
    },
    files: filesOf,
    async holds(key, seconds) {
      const deadlineMs = Date.now() + HOLD_TIMEOUT_MS;
      while (!filesOf(key).some((file) => lastSecond(file) >= seconds)) {
        if (Date.now() > deadlineMs) {
          throw new Error(`nginx: ${seconds} s of ${key} did not arrive`);
        }
        await delay(100);
      }
    },
    kill,
    restart: start,
    async close() {
      await kill();
      callbacks.server.close();
      callbacks.server.closeAllConnections();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function configOf(
  folder: string,
  recordings: string,
  port: number,
  callbackPort: number,
  pushTo: string | undefined,
): string {
  const callback = `http://127.0.0.1:${callbackPort}/`;
  return `load_module ${MODULE};
daemon off;
master_process off;
pid ${folder}/nginx.pid;
error_log ${folder}/error.log info;
events { worker_connections 64; }
rtmp {
  server {
    listen 127.0.0.1:${port};
    notify_method get;
    application live {
      live on;
      record all;
      record_unique on;
      record_path ${recordings};
      on_publish ${callback};
      on_record_done ${callback};
      ${pushTo === undefined ? '' : `push ${pushTo};`}
    }
  }
}
`;
}

/** nginx tells of publishers and finished files by HTTP, and asks whether it may go on. */
async function startCallbacks(
  onEvent: (event: URLSearchParams) => boolean,
): Promise<{ server: Server; port: number }> {
  const server = createServer((request, response) => {
    const allowed = onEvent(new URL(request.url ?? '/', 'http://nginx').searchParams);
    response.writeHead(allowed ? 200 : 403, { connection: 'close' }).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { server, port: (server.address() as AddressInfo).port };
}

/** Time of the last whole tag of an FLV file that may still grow. */
function lastSecond(file: string): number {
  const tags = new FlvReader().push(readFileSync(file));
  return (tags.at(-1)?.timestampMs ?? 0) / 1000;
}
