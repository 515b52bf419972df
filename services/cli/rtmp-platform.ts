import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { createConnection, createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import NodeMediaServer from 'node-media-server';
import { ServiceError } from '../base/errors.ts';
import { integerFlag, parseFlags, UsageError, type CliCommand } from './command.ts';
import { untilSignal } from './signals.ts';

/**
 * node-media-server as the streaming platform next door: encoders publish to it, and it pushes on to Sluice with
 * its own RTMP client. It is one instance per process by design and writes into its working folder, so it always
 * runs in a process and a folder of its own. Sluice's own listener does not use it (docs/decisions).
 */
export type RtmpPlatform = {
  /** Where an encoder publishes; whatever arrives is pushed on. */
  publishUrl: string;
  close(): Promise<void>;
};

const PUSH_URL_VARIABLE = 'SLUICE_PLATFORM_PUSH_URL';
const STREAM_PATH = '/live/source';
const START_TIMEOUT_MS = 15_000;

/** Starts the platform on a free port of 127.0.0.1. @throws ServiceError unavailable when it does not come up. */
export async function startRtmpPlatform(options: {
  program: string;
  pushUrl: string;
}): Promise<RtmpPlatform> {
  const port = await freePort();
  const folder = await mkdtemp(path.join(tmpdir(), 'sluice-platform-'));
  const child = spawn(process.execPath, [options.program, 'rtmp-platform', '--port', String(port)], {
    cwd: folder,
    // The address holds a stream key: the environment is not shown to other users, the command line is.
    env: { ...process.env, [PUSH_URL_VARIABLE]: options.pushUrl },
    stdio: ['ignore', 'ignore', 'ignore'],
    detached: true,
  });
  const exited = new Promise<void>((resolve) => {
    child.once('close', () => resolve());
    child.once('error', () => resolve());
  });
  const close = async (): Promise<void> => {
    child.kill('SIGTERM');
    await Promise.race([exited, delay(5000)]);
    child.kill('SIGKILL');
    await exited;
    await rm(folder, { recursive: true, force: true });
  };
  const deadlineMs = Date.now() + START_TIMEOUT_MS;
  while (!(await accepts(port))) {
    if (child.exitCode !== null || Date.now() > deadlineMs) {
      await close();
      throw new ServiceError('unavailable', 'node-media-server did not start');
    }
    await delay(100);
  }
  return { publishUrl: `rtmp://127.0.0.1:${port}${STREAM_PATH}`, close };
}

/** The child process of `startRtmpPlatform`. */
export const rtmpPlatformCommand: CliCommand = {
  name: 'rtmp-platform',
  summary: 'run node-media-server as an independent RTMP platform (used by demo and tests)',
  usage: `rtmp-platform --port N   (environment: ${PUSH_URL_VARIABLE})`,
  async run(args) {
    const port = integerFlag('port', parseFlags(args, { port: { type: 'string' } }).port, 1, 65_535);
    const pushUrl = process.env[PUSH_URL_VARIABLE];
    if (port === undefined || pushUrl === undefined) {
      throw new UsageError(`--port and ${PUSH_URL_VARIABLE} are needed`);
    }
    const signal = untilSignal();
    const server = new NodeMediaServer({ bind: '127.0.0.1', rtmp: { port }, store: { path: './data' } });
    server.on('postPublish', (session) => {
      if (session.streamPath === STREAM_PATH) {
        server.relayServer.addTask({ url: pushUrl, mode: 'push', streamPath: STREAM_PATH, reconnect: false });
      }
    });
    await server.run();
    await signal.received;
    await server.stop();
    return 0;
  },
};

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ port, host: '127.0.0.1' });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
