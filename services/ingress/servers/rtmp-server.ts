import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { ServiceError } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import { AddressLimiter } from './address-limiter.ts';
import type { OnPublish } from './publisher-types.ts';
import { RtmpConnection } from './rtmp-connection.ts';
import { RTMP_LIMITS, type RtmpLimits } from './rtmp-limits.ts';

export type RtmpServerOptions = {
  /** 0 = any free port. */
  port: number;
  bindAddress: string;
  logger: Logger;
  onPublish: OnPublish;
  limits?: Partial<RtmpLimits>;
};

export type RtmpServer = {
  readonly port: number;
  /** Stops listening, drops every encoder; resolves when all sockets are gone. Idempotent. */
  close(cause: string): Promise<void>;
};

/** @throws ServiceError unavailable when the address cannot be bound. */
export async function startRtmpServer(options: RtmpServerOptions): Promise<RtmpServer> {
  const limits: RtmpLimits = { ...RTMP_LIMITS, ...options.limits };
  const limiter = new AddressLimiter(limits);
  const connections = new Map<Socket, RtmpConnection>();
  const server = createServer((socket) => {
    const remoteAddress = socket.remoteAddress ?? '';
    const refusal = limiter.admit(remoteAddress);
    if (refusal !== undefined) {
      options.logger.warn({ remoteAddress, refusal }, 'rtmp connection refused');
      socket.on('error', () => undefined).destroy();
      return;
    }
    connections.set(
      socket,
      new RtmpConnection({
        socket,
        remoteAddress,
        limits,
        logger: options.logger.child({ remoteAddress }),
        onPublish: options.onPublish,
        onWrongKey: () => {
          limiter.fail(remoteAddress);
        },
      }),
    );
    socket.once('close', () => {
      connections.delete(socket);
      limiter.release(remoteAddress);
    });
  });
  await listen(server, options);
  let closing: Promise<void> | undefined;
  return {
    port: (server.address() as AddressInfo).port,
    close(cause) {
      closing ??= new Promise((resolve) => {
        server.close(() => {
          resolve();
        });
        for (const connection of connections.values()) {
          connection.drop(cause);
        }
      });
      return closing;
    },
  };
}

function listen(server: Server, options: RtmpServerOptions): Promise<void> {
  const { port, bindAddress } = options;
  return new Promise((resolve, reject) => {
    server.once('error', (error) => {
      reject(
        new ServiceError(
          'unavailable',
          `RTMP: cannot listen on ${bindAddress}:${port} (${error.message}); set another rtmp_port`,
          { scope: 'node', cause: error },
        ),
      );
    });
    server.listen(port, bindAddress, () => {
      server.removeAllListeners('error');
      server.on('error', (error) => {
        options.logger.error({ err: error }, 'rtmp listener failed');
      });
      resolve();
    });
  });
}
