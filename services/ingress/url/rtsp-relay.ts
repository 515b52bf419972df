import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { dial, type TlsTrust } from '../../base/net/dial.ts';
import { messageOf, ServiceError } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';

export type RtspRelayOptions = {
  host: string;
  /** Checked before. */
  ipAddress: string;
  port: number;
  /** rtsps: TLS to the server. */
  secure: boolean;
  logger: Logger;
  trust: TlsTrust;
};

const CONNECT_TIMEOUT_MS = 10_000;
const INTERLEAVED = 0x24;
const INTERLEAVED_HEADER_BYTES = 4;
const MAX_MESSAGE_BYTES = 256_000;

/**
 * A door on loopback to one RTSP server: ffmpeg reads through it, so it connects where the policy said and nowhere else.
 * ffmpeg would follow a redirect by itself; here the answer with it ends the connection and is kept for who decides.
 */
export class RtspRelay {
  readonly #options: RtspRelayOptions;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #stop = new AbortController();
  #redirect: string | undefined;
  #failure: ServiceError | undefined;

  private constructor(options: RtspRelayOptions) {
    this.#options = options;
    this.#server = createServer((socket) => {
      this.#keep(socket);
      this.#connect(socket).catch((error: unknown) => {
        this.#failure ??= ServiceError.from(error, 'unavailable');
        socket.destroy();
      });
    });
    this.#server.maxConnections = 2;
  }

  static async start(options: RtspRelayOptions): Promise<RtspRelay> {
    const relay = new RtspRelay(options);
    await new Promise<void>((resolve, reject) => {
      relay.#server.once('error', reject).listen(0, '127.0.0.1', resolve);
    });
    return relay;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Where the server sent us; not followed. */
  get redirect(): string | undefined {
    return this.#redirect;
  }

  /** Why the server was not reached. */
  get failure(): ServiceError | undefined {
    return this.#failure;
  }

  async close(): Promise<void> {
    this.#stop.abort();
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#sockets.forEach((socket) => socket.destroy());
    await closed;
  }

  async #connect(client: Socket): Promise<void> {
    const { host, ipAddress, port, secure, trust, logger } = this.#options;
    client.pause();
    const server = await dial({
      ...{ host, address: ipAddress, port, secure, ...trust },
      timeoutMs: CONNECT_TIMEOUT_MS,
      signal: this.#stop.signal,
    });
    this.#keep(server);
    const filter = new AnswerFilter((location) => {
      this.#redirect ??= location;
      client.destroy();
    });
    client.pipe(server);
    server.on('data', (data) => {
      try {
        if (!client.write(filter.push(data))) {
          server.pause();
          client.once('drain', () => server.resume());
        }
      } catch (error) {
        logger.warn({ reason: messageOf(error) }, 'URL input: not RTSP');
        this.#failure ??= ServiceError.from(error);
        client.destroy();
      }
    });
    server.once('close', () => client.destroy());
    client.once('close', () => server.destroy());
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
    socket.on('error', () => socket.destroy());
  }
}

/** Lets whole messages and media through (RFC 2326 sections 4 and 10.12) until one of them is a redirect. */
class AnswerFilter {
  readonly #onRedirect: (location: string) => void;
  #buffer: Buffer = Buffer.alloc(0);
  #isDone = false;

  constructor(onRedirect: (location: string) => void) {
    this.#onRedirect = onRedirect;
  }

  /** @returns what may pass. @throws ServiceError malformed when a message has no end. */
  push(data: Buffer): Buffer {
    this.#buffer = this.#buffer.length === 0 ? data : Buffer.concat([this.#buffer, data]);
    let end = 0;
    while (!this.#isDone) {
      const length = this.#messageBytes(this.#buffer.subarray(end));
      if (length === 0) {
        break;
      }
      end += length;
    }
    const passed = this.#buffer.subarray(0, end);
    this.#buffer = this.#buffer.subarray(end);
    return passed;
  }

  /** 0: not complete yet, or not to be passed on. */
  #messageBytes(rest: Buffer): number {
    if (rest[0] === INTERLEAVED) {
      const bytes =
        rest.length < INTERLEAVED_HEADER_BYTES ? 0 : INTERLEAVED_HEADER_BYTES + rest.readUInt16BE(2);
      return bytes <= rest.length ? bytes : 0;
    }
    const headerEnd = rest.indexOf('\r\n\r\n');
    if (headerEnd === -1) {
      if (rest.length > MAX_MESSAGE_BYTES) {
        throw new ServiceError('malformed', 'the server does not speak RTSP', { blame: 'destination' });
      }
      return 0;
    }
    const header = rest.toString('latin1', 0, headerEnd);
    if (/^RTSP\/\d\.\d 3\d\d/.test(header) || header.startsWith('REDIRECT ')) {
      this.#isDone = true;
      this.#onRedirect(/^location:\s*(\S+)/im.exec(header)?.[1] ?? '');
      return 0;
    }
    const bodyBytes = Number(/^content-length:\s*(\d{1,7})\s*$/im.exec(header)?.[1] ?? 0);
    const bytes = headerEnd + 4 + bodyBytes;
    return bytes <= rest.length ? bytes : 0;
  }
}
