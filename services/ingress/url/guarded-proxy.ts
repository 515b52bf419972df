import { randomBytes, timingSafeEqual } from 'node:crypto';
import {
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { createSecureContext, TLSSocket } from 'node:tls';
import { messageOf, ServiceError } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import { dial } from '../../base/net/dial.ts';
import { throwawayCertificate } from '../../base/net/throwaway-certificate.ts';
import type { UrlPolicy } from './url-policy.ts';

const CONNECT_TIMEOUT_MS = 10_000;
const MAX_CONNECTIONS = 32;

/**
 * A forward proxy on loopback through which ffmpeg reads a URL. It resolves every name itself and connects to the very
 * address it checked, so neither a redirect, nor a segment list, nor a name that changes between check and use leads
 * into a private network. Only who knows its password (ffmpeg, by environment) may use it.
 *
 * TLS to the server is spoken and verified here too, in front of ffmpeg's own, which ends here: ffmpeg would verify what is
 * in the URL, but not the segments of a playlist.
 */
export class GuardedProxy {
  readonly #policy: UrlPolicy;
  readonly #logger: Logger;
  readonly #password = randomBytes(18).toString('hex');
  readonly #server: Server;
  readonly #sockets = new Set<Duplex>();
  readonly #secureContext = createSecureContext(throwawayCertificate());
  readonly #stop = new AbortController();
  #refusal: ServiceError | undefined;

  private constructor(policy: UrlPolicy, logger: Logger) {
    this.#policy = policy;
    this.#logger = logger;
    this.#server = createServer((request, response) => {
      void this.#forward(request, response);
    });
    this.#server.maxConnections = MAX_CONNECTIONS;
    this.#server.on('connection', (socket) => {
      this.#keep(socket);
    });
    this.#server.on('connect', (request: IncomingMessage, socket: Duplex) => {
      void this.#tunnel(request, socket);
    });
  }

  static async start(policy: UrlPolicy, logger: Logger): Promise<GuardedProxy> {
    const proxy = new GuardedProxy(policy, logger);
    await new Promise<void>((resolve, reject) => {
      proxy.#server.once('error', reject).listen(0, '127.0.0.1', resolve);
    });
    return proxy;
  }

  /** For the environment of the reader; carries the password. */
  get url(): string {
    return `http://sluice:${this.#password}@127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** The first target that was refused: more telling than what the reader says of it. */
  get refusal(): ServiceError | undefined {
    return this.#refusal;
  }

  async close(): Promise<void> {
    this.#stop.abort();
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#sockets.forEach((socket) => socket.destroy());
    await closed;
  }

  async #forward(request: IncomingMessage, response: ServerResponse): Promise<void> {
    request.resume();
    if (!this.#isAllowed(request)) {
      response
        .writeHead(407, { 'proxy-authenticate': 'Basic realm="sluice"', connection: 'keep-alive' })
        .end();
      return;
    }
    if (!URL.canParse(request.url ?? '') || !request.url?.startsWith('http://')) {
      response.writeHead(400).end();
      return;
    }
    const url = new URL(request.url);
    try {
      const host = await this.#policy.address(url.hostname);
      const headers = { ...request.headers };
      delete headers['proxy-authorization'];
      delete headers['proxy-connection'];
      const upstream = httpRequest({
        host,
        port: url.port === '' ? 80 : Number(url.port),
        method: request.method,
        path: url.pathname + url.search,
        headers: { ...headers, host: url.host },
        timeout: CONNECT_TIMEOUT_MS,
        agent: false,
      });
      upstream.on('timeout', () => upstream.destroy(new Error('timed out')));
      upstream.on('response', (answer) => {
        upstream.setTimeout(0);
        response.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(response);
        answer.on('error', () => response.destroy());
      });
      upstream.on('error', (error) => {
        this.#logger.debug({ err: error }, 'URL input: upstream failed');
        if (response.headersSent) {
          response.destroy();
        } else {
          response.writeHead(502).end();
        }
      });
      response.on('close', () => upstream.destroy());
      upstream.end();
    } catch (error) {
      this.#refuse(error);
      response.writeHead(403).end();
    }
  }

  /** ffmpeg asks for a tunnel only to speak TLS in it. */
  async #tunnel(request: IncomingMessage, socket: Duplex): Promise<void> {
    socket.on('error', () => socket.destroy());
    if (!this.#isAllowed(request)) {
      socket.end(
        'HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm="sluice"\r\nContent-Length: 0\r\n\r\n',
      );
      return;
    }
    const target = /^(\[[0-9a-f:.]+\]|[^:]+):(\d{1,5})$/i.exec(request.url ?? '');
    if (target === null) {
      socket.end('HTTP/1.1 400 Bad Request\r\n\r\n');
      return;
    }
    const host = (target[1] ?? '').replace(/^\[|\]$/g, '');
    let address: string;
    try {
      address = await this.#policy.address(host);
    } catch (error) {
      this.#refuse(error);
      socket.end('HTTP/1.1 403 Forbidden\r\n\r\n');
      return;
    }
    try {
      const upstream = await dial({
        ...{ host, address, port: Number(target[2]), secure: true, ...this.#policy.trust },
        ...{ timeoutMs: CONNECT_TIMEOUT_MS, signal: this.#stop.signal },
      });
      this.#keep(upstream);
      socket.write('HTTP/1.1 200 Connection Established\r\n\r\n');
      const inner = new TLSSocket(socket, { isServer: true, secureContext: this.#secureContext });
      this.#keep(inner);
      inner.pipe(upstream).pipe(inner);
      upstream.once('close', () => inner.destroy());
      inner.once('close', () => upstream.destroy());
      socket.once('close', () => inner.destroy());
    } catch (error) {
      // A server that is down may be asked again, one with a wrong certificate never can.
      if (error instanceof ServiceError && !error.retryable) {
        this.#refuse(error);
      }
      socket.end('HTTP/1.1 502 Bad Gateway\r\n\r\n');
    }
  }

  #refuse(error: unknown): void {
    this.#refusal ??= ServiceError.from(error);
    this.#logger.warn({ reason: messageOf(error) }, 'URL input: target refused');
  }

  #isAllowed(request: IncomingMessage): boolean {
    const given = Buffer.from(request.headers['proxy-authorization'] ?? '');
    const expected = Buffer.from(`Basic ${Buffer.from(`sluice:${this.#password}`).toString('base64')}`);
    return given.length === expected.length && timingSafeEqual(given, expected);
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
    socket.on('error', () => socket.destroy());
  }
}
