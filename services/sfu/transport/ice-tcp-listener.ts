import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { messageOf, ServiceError } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import { IceTcpConnection, type IceTcpEvents } from './ice-tcp-connection.ts';
import { ICE_TCP_LIMITS, type IceTcpLimits } from './ice-tcp-limits.ts';

export type IceTcpOptions = {
  /** 0 = any free port. */
  port: number;
  limits?: Partial<IceTcpLimits>;
};

/**
 * One TCP port for the clients whose network lets no UDP through (passive candidates, RFC 6544). Counts connections per
 * address and in all; whose they are is IceTcpStreams' matter.
 */
export class IceTcpListener {
  readonly port: number;
  readonly limits: IceTcpLimits;
  readonly #server: Server;
  readonly #logger: Logger;
  readonly #connections = new Set<IceTcpConnection>();
  readonly #byAddress = new Map<string, number>();
  #events: IceTcpEvents | undefined;

  /** @throws ServiceError unavailable when the port is taken. */
  static async open(
    options: IceTcpOptions & { bindAddress: string; logger: Logger },
  ): Promise<IceTcpListener> {
    const { bindAddress, port, logger } = options;
    const server = createServer({ noDelay: true });
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error) => {
        reject(
          new ServiceError(
            'unavailable',
            `cannot listen on TCP ${bindAddress}:${port}: ${messageOf(error)}; set another rtc.tcp_port (0 = off)`,
            { scope: 'node', cause: error },
          ),
        );
      });
      server.listen(port, bindAddress, resolve);
    });
    server.removeAllListeners('error');
    server.on('error', (error) => logger.error({ err: error }, 'ICE TCP listener failed'));
    return new IceTcpListener(server, { ...ICE_TCP_LIMITS, ...options.limits }, logger);
  }

  private constructor(server: Server, limits: IceTcpLimits, logger: Logger) {
    this.#server = server;
    this.limits = limits;
    this.#logger = logger;
    this.port = (server.address() as AddressInfo).port;
    server.on('connection', (socket) => this.#accept(socket));
  }

  /** Until then connections are refused. */
  attach(events: IceTcpEvents): void {
    this.#events = events;
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const connection of this.#connections) {
      connection.close('listener closed');
    }
    await closed;
  }

  #accept(socket: Socket): void {
    const address = socket.remoteAddress ?? '';
    const events = this.#events;
    const refusal = this.#refusal(address);
    if (events === undefined || refusal !== undefined) {
      this.#logger.warn({ remoteAddress: address, refusal }, 'ICE TCP connection refused');
      socket.on('error', () => undefined);
      socket.destroy();
      return;
    }
    this.#byAddress.set(address, (this.#byAddress.get(address) ?? 0) + 1);
    const connection = new IceTcpConnection({
      socket,
      limits: this.limits,
      logger: this.#logger,
      onPacket: events.onPacket,
      onClosed: (closed) => {
        this.#connections.delete(closed);
        this.#release(address);
        events.onClosed(closed);
      },
    });
    this.#connections.add(connection);
  }

  #refusal(address: string): string | undefined {
    const { maxConnections, maxConnectionsPerAddress, maxUnauthenticated } = this.limits;
    if (this.#connections.size >= maxConnections) {
      return 'too many connections';
    }
    if ((this.#byAddress.get(address) ?? 0) >= maxConnectionsPerAddress) {
      return 'too many connections from this address';
    }
    let unauthenticated = 0;
    for (const { isAuthenticated } of this.#connections) {
      unauthenticated += isAuthenticated ? 0 : 1;
    }
    return unauthenticated >= maxUnauthenticated
      ? 'too many connections wait for their first check'
      : undefined;
  }

  #release(address: string): void {
    const left = (this.#byAddress.get(address) ?? 1) - 1;
    if (left > 0) {
      this.#byAddress.set(address, left);
    } else {
      this.#byAddress.delete(address);
    }
  }
}
