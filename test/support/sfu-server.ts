import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createLogger, type Logger } from '../../services/base/logger.ts';
import { MemoryBus } from '../../services/bus/memory-bus.ts';
import { mintToken, type MintOptions } from '../../services/protocol/token.ts';
import type { VideoGrant } from '../../services/model/grants.ts';
import { startSfu, type Sfu, type SfuOptions } from '../../services/sfu/sfu-service.ts';

export const API_KEY = 'testkey';
export const API_SECRET = 'a-test-secret-that-is-long-enough-for-hs256';

export type SfuServer = {
  bus: MemoryBus;
  sfu: Sfu;
  httpUrl: string;
  wsUrl: string;
  /** A token that may join `room`, with everything allowed unless `video` says otherwise. */
  joinToken(
    identity: string,
    room: string,
    options?: Omit<MintOptions, 'video'> & { video?: VideoGrant },
  ): Promise<string>;
  close(): Promise<void>;
};

export type SfuServerOptions = {
  logger?: Logger;
  sfu?: Partial<Pick<SfuOptions, 'room' | 'limits' | 'rtc' | 'localMedia' | 'onRoomEvent' | 'iceServers'>>;
  /** Plain requests that are not the SFU's. */
  onRequest?: (req: IncomingMessage, res: ServerResponse) => void;
};

/** The real SFU behind a bare HTTP server on 127.0.0.1. */
export async function startSfuServer(options: SfuServerOptions = {}): Promise<SfuServer> {
  const logger =
    options.logger ?? createLogger({ level: (process.env['TEST_LOG'] as 'info' | undefined) ?? 'silent' });
  const bus = new MemoryBus();
  const sfu = await startSfu({
    bus,
    keys: new Map([[API_KEY, API_SECRET]]),
    logger,
    rtc: { udpPort: 0, tcpPort: 0, bindAddress: '127.0.0.1', advertiseAddresses: ['127.0.0.1'] },
    ...options.sfu,
  });
  const server = createServer((req, res) => {
    if (sfu.handleRequest(req, res)) {
      return;
    }
    if (options.onRequest === undefined) {
      res.writeHead(404).end();
    } else {
      options.onRequest(req, res);
    }
  });
  server.on('upgrade', (req: IncomingMessage, socket, head: Buffer) => {
    if (!sfu.handleUpgrade(req, socket, head)) {
      socket.end('HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    bus,
    sfu,
    httpUrl: `http://127.0.0.1:${port}`,
    wsUrl: `ws://127.0.0.1:${port}`,
    joinToken: (identity, room, { video, ...rest } = {}) =>
      mintToken(API_KEY, API_SECRET, {
        identity,
        ttlS: 600,
        ...rest,
        video: { roomJoin: true, room, canUpdateOwnMetadata: true, ...video },
      }),
    close: async () => {
      await sfu.close('test over');
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await bus.close();
    },
  };
}
