import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { createSecureContext, TLSSocket, type SecureContext } from 'node:tls';
import { messageOf, ServiceError } from '../../base/errors.ts';
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
  /** RTMPS: certificate chain and private key, PEM. */
  tls?: { cert: string; key: string };
  /** Counts together with another listener, so that a second port is no second chance. */
  limiter?: AddressLimiter;
};

export type RtmpServer = {
  readonly port: number;
  /** Asks all encoders that understand it to connect again, elsewhere if something in front sends them there. */
  requestReconnect(description: string): void;
  /** Stops listening, drops every encoder; resolves when all sockets are gone. Idempotent. */
  close(cause: string): Promise<void>;
};

/**
 * With TLS, its handshake comes after the limits on connections and under the same time limit as RTMP's.
 * @throws ServiceError unavailable when the address cannot be bound, invalid_argument for an unusable certificate.
 */
export async function startRtmpServer(options: RtmpServerOptions): Promise<RtmpServer> {
  const limits: RtmpLimits = { ...RTMP_LIMITS, ...options.limits };
  const limiter = options.limiter ?? new AddressLimiter(limits);
  const secureContext = options.tls === undefined ? undefined : secureContextOf(options.tls);
  const connections = new Map<Socket, RtmpConnection>();
  const server = createServer((accepted) => {
    const remoteAddress = accepted.remoteAddress ?? '';
    const refusal = limiter.admit(remoteAddress);
    if (refusal !== undefined) {
      options.logger.warn({ remoteAddress, refusal }, 'rtmp connection refused');
      accepted.on('error', () => undefined).destroy();
      return;
    }
    const socket =
      secureContext === undefined ? accepted : new TLSSocket(accepted, { isServer: true, secureContext });
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
    requestReconnect(description) {
      for (const connection of connections.values()) {
        connection.requestReconnect(description);
      }
    },
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

function secureContextOf(tls: { cert: string; key: string }): SecureContext {
  try {
    return createSecureContext({ cert: tls.cert, key: tls.key });
  } catch (error) {
    throw new ServiceError(
      'invalid_argument',
      `RTMPS: certificate or key cannot be used (${messageOf(error)})`,
      {
        scope: 'node',
        cause: error,
      },
    );
  }
}

function listen(server: Server, options: RtmpServerOptions): Promise<void> {
  const { port, bindAddress } = options;
  const name = options.tls === undefined ? 'rtmp' : 'rtmps';
  return new Promise((resolve, reject) => {
    server.once('error', (error) => {
      reject(
        new ServiceError(
          'unavailable',
          `${name.toUpperCase()}: cannot listen on ${bindAddress}:${port} (${error.message}); set another ${name}_port`,
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
