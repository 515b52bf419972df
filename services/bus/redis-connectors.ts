import { createConnection } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { AbstractConnector, SentinelConnector } from 'ioredis';
import type { ClientOptions } from './redis-options.ts';

/**
 * ioredis listens to the first error of a socket only. A TLS handshake that is broken off can bring a second one
 * (our end closes, then the peer's alert arrives), and an error nobody listens to ends the process.
 */
type Connect = SentinelConnector['connect'];
type Socket = Awaited<ReturnType<Connect>>;

export class DirectConnector extends AbstractConnector {
  readonly #options: ClientOptions;

  /** ioredis hands its options over without their type. */
  constructor(options: unknown) {
    super((options as ClientOptions).disconnectTimeout ?? 0);
    this.#options = options as ClientOptions;
  }

  connect(): Promise<Socket> {
    const { host, port, path, tls } = this.#options;
    const address = path === undefined ? { host: host ?? '', port: port ?? 0 } : { path };
    this.connecting = true;
    const socket = tls === undefined ? createConnection(address) : connectTls({ ...address, ...tls });
    this.stream = socket;
    socket.on('error', (error) => (this.firstError ??= error));
    return Promise.resolve(socket);
  }
}

export class FailoverConnector extends SentinelConnector {
  constructor(options: unknown) {
    super(options as ConstructorParameters<typeof SentinelConnector>[0]);
  }

  override async connect(emit: Parameters<Connect>[0]): Promise<Socket> {
    const socket = await super.connect(emit);
    socket.on('error', (error) => (this.firstError ??= error));
    return socket;
  }
}
