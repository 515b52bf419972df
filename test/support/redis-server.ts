import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { freePort } from './ports.ts';

/** Debian's name. */
export const REDIS_PACKAGE = 'redis-server';

export type RedisServerOptions = {
  password?: string;
  /** Keep data across restart(); otherwise it comes back empty. */
  isPersistent?: boolean;
  /** Not a store but a sentinel that watches the master on this port. */
  sentinelOf?: { name: string; port: number };
  /** Further words of redis-server's command line. */
  args?: string[];
};

export type RedisServer = {
  /** host:port; the same after a restart. */
  readonly address: string;
  readonly port: number;
  readonly pid: number;
  /** Ends the process without a word (SIGKILL). */
  kill(): Promise<void>;
  /** Starts it again on the same port; kills it first when it runs. */
  restart(): Promise<void>;
  /** Stops and continues the process: it keeps its connections and answers nobody. */
  freeze(): void;
  thaw(): void;
  close(): Promise<void>;
};

const START_TIMEOUT_MS = 15_000;

/** A real redis-server on a free port of the loopback interface, in a folder of its own. */
export async function startRedis(options: RedisServerOptions = {}): Promise<RedisServer> {
  const program = ['/usr/bin/redis-server', '/usr/local/bin/redis-server'].find((file) => existsSync(file));
  if (program === undefined) {
    throw new Error(
      `redis-server is not installed – run: apt-get install -y --no-install-recommends ${REDIS_PACKAGE}`,
    );
  }
  const folder = await mkdtemp(path.join(tmpdir(), 'sluice-redis-'));
  const port = await freePort();
  if (options.sentinelOf !== undefined) {
    const { name, port: masterPort } = options.sentinelOf;
    // A sentinel keeps what it learns in its configuration file.
    await writeFile(
      path.join(folder, 'sentinel.conf'),
      `bind 127.0.0.1\nport ${port}\ndir ${folder}\nlogfile redis.log\nsentinel monitor ${name} 127.0.0.1 ${masterPort} 1\n`,
    );
  }
  const storeArgs = [
    ...['--bind', '127.0.0.1', '--port', String(port), '--dir', folder, '--logfile', 'redis.log'],
    ...[
      '--save',
      '',
      '--appendonly',
      options.isPersistent === true ? 'yes' : 'no',
      '--appendfsync',
      'always',
    ],
    ...(options.password === undefined ? [] : ['--requirepass', options.password]),
    ...(options.args ?? []),
  ];
  const args =
    options.sentinelOf === undefined ? storeArgs : [path.join(folder, 'sentinel.conf'), '--sentinel'];
  let child = await start(program, args, port, folder);
  const kill = async (): Promise<void> => {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
  };
  return {
    address: `127.0.0.1:${port}`,
    port,
    get pid() {
      return child.pid ?? 0;
    },
    kill,
    restart: async () => {
      await kill();
      child = await start(program, args, port, folder);
    },
    freeze: () => child.kill('SIGSTOP'),
    thaw: () => child.kill('SIGCONT'),
    close: async () => {
      await kill();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function start(program: string, args: string[], port: number, folder: string): Promise<ChildProcess> {
  const child = spawn(program, args, { stdio: 'ignore' });
  const deadlineMs = Date.now() + START_TIMEOUT_MS;
  while (!(await answers(port))) {
    if (child.exitCode !== null || Date.now() > deadlineMs) {
      child.kill('SIGKILL');
      const log = await readFile(path.join(folder, 'redis.log'), 'utf8').catch(() => '');
      throw new Error(`redis-server did not start: ${log.slice(-1000)}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return child;
}

/** Any reply will do, also "NOAUTH"; a TLS port only needs to accept. */
function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(port, '127.0.0.1');
    const settle = (isUp: boolean): void => {
      socket.destroy();
      resolve(isUp);
    };
    socket.setTimeout(500, () => settle(false));
    socket.once('connect', () => socket.write('PING\r\n'));
    socket.once('data', (data) => settle(!data.toString().startsWith('-LOADING')));
    socket.once('error', () => settle(false));
  });
}
