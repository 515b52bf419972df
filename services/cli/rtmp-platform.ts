import { spawn } from 'node:child_process';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { createConnection, createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import NodeMediaServer from 'node-media-server';
import { ServiceError } from '../base/errors.ts';
import { integerFlag, parseFlags, UsageError, type CliCommand } from './command.ts';
import { untilSignal } from './signals.ts';

const PUSH_URL_VARIABLE = 'SLUICE_PLATFORM_PUSH_URL';
const STREAM_PATH = '/live/source';
const RECORDINGS = 'recordings';
const START_TIMEOUT_MS = 15_000;
const STOP_TIMEOUT_MS = 5000;

/** Where an encoder publishes; whatever arrives is pushed on to Sluice with node-media-server's own RTMP client. */
export type RtmpPlatform = { publishUrl: string; close(): Promise<void> };

/** Starts the platform on a free port of 127.0.0.1. @throws ServiceError unavailable when it does not come up. */
export async function startRtmpPlatform(options: {
  program: string;
  pushUrl: string;
}): Promise<RtmpPlatform> {
  // The address holds a stream key: the environment is not shown to other users, the command line is.
  const { port, close } = await spawnPlatform(options.program, [], { [PUSH_URL_VARIABLE]: options.pushUrl });
  return { publishUrl: `rtmp://127.0.0.1:${port}${STREAM_PATH}`, close };
}

/** A platform that takes streams and keeps them, as YouTube and Twitch do. */
export type RecordingPlatform = {
  /** @param path for example `youtube/my-key`. */
  url(path: string): string;
  /** Ends it, which finishes its recordings. Idempotent. */
  stop(): Promise<void>;
  /** FLV files of what was published at the path, in order; complete after `stop`, gone after `close`. */
  recordings(path: string): Promise<string[]>;
  close(): Promise<void>;
};

/** @throws ServiceError unavailable when it does not come up. */
export async function startRecordingPlatform(options: { program: string }): Promise<RecordingPlatform> {
  const { port, folder, stop, close } = await spawnPlatform(options.program, ['--record'], {});
  return {
    url: (streamPath) => `rtmp://127.0.0.1:${port}/${streamPath}`,
    stop,
    async recordings(streamPath) {
      const place = path.join(folder, RECORDINGS, streamPath);
      const names = await readdir(place).catch(() => []);
      return names.sort().map((name) => path.join(place, name));
    },
    close,
  };
}

type PlatformProcess = {
  port: number;
  folder: string;
  stop: () => Promise<void>;
  close: () => Promise<void>;
};

/**
 * node-media-server as the streaming platform next door. It is one instance per process by design and writes into
 * its working folder, so it always runs in a process and a folder of its own. Sluice's own listener does not use it
 * (docs/decisions).
 */
async function spawnPlatform(
  program: string,
  flags: string[],
  environment: Record<string, string>,
): Promise<PlatformProcess> {
  const port = await freePort();
  const folder = await mkdtemp(path.join(tmpdir(), 'sluice-platform-'));
  const child = spawn(process.execPath, [program, 'rtmp-platform', '--port', String(port), ...flags], {
    cwd: folder,
    env: { ...process.env, ...environment },
    // The channel carries nothing; its end tells the child that nobody needs it any more.
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    detached: true,
  });
  const exited = new Promise<void>((resolve) => {
    child.once('close', () => resolve());
    child.once('error', () => resolve());
  });
  const stop = async (): Promise<void> => {
    child.kill('SIGTERM');
    await Promise.race([exited, delay(STOP_TIMEOUT_MS, undefined, { ref: false })]);
    child.kill('SIGKILL');
    await exited;
  };
  const close = async (): Promise<void> => {
    await stop();
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
  return { port, folder, stop, close };
}

/** The child process of the platforms above. */
export const rtmpPlatformCommand: CliCommand = {
  name: 'rtmp-platform',
  summary: 'run node-media-server as an independent RTMP platform (used by demo and tests)',
  usage: `rtmp-platform --port N [--record]
  --record            keep what is published in ./${RECORDINGS}/
  ${PUSH_URL_VARIABLE}   (environment) push what is published at ${STREAM_PATH} on to this address`,
  async run(args) {
    const flags = parseFlags(args, { port: { type: 'string' }, record: { type: 'boolean' } });
    const port = integerFlag('port', flags.port, 1, 65_535);
    const pushUrl = process.env[PUSH_URL_VARIABLE];
    if (port === undefined || (pushUrl === undefined && flags.record !== true)) {
      throw new UsageError(`--port and one of --record and ${PUSH_URL_VARIABLE} are needed`);
    }
    const signal = untilSignal();
    const parentGone = new Promise<void>((resolve) => process.once('disconnect', () => resolve()));
    const server = new NodeMediaServer({
      bind: '127.0.0.1',
      rtmp: { port },
      store: { path: './data' },
      ...(flags.record === true ? { record: { path: `./${RECORDINGS}` } } : {}),
    });
    server.on('postPublish', (session) => {
      if (pushUrl !== undefined && session.streamPath === STREAM_PATH) {
        server.relayServer.addTask({ url: pushUrl, mode: 'push', streamPath: STREAM_PATH, reconnect: false });
      }
    });
    await server.run();
    await Promise.race([signal.received, parentGone]);
    await server.stop();
    if (process.connected) {
      process.disconnect();
    }
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
