import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { ServiceError } from '../../base/errors.ts';
import { HTTP_LIMITS } from '../../base/http/http-limits.ts';
import { sendProblem } from '../../base/http/problem-response.ts';
import { readBody } from '../../base/http/request-body.ts';
import type { Logger } from '../../base/logger.ts';
import {
  CORS_HEADERS,
  isPreflight,
  mediaType,
  optionsHeaders,
  requireMediaType,
  SDP_FRAGMENT_TYPE,
  SDP_TYPE,
} from '../../protocol/whip.ts';
import { AddressLimiter } from './address-limiter.ts';
import { RequestRate } from './request-rate.ts';
import { WHIP_LIMITS, type WhipLimits } from './whip-limits.ts';
import { WhipResources } from './whip-resources.ts';
import { bearerOf, parseWhipPath, type WhipPath } from './whip-path.ts';
import type { OnWhipIceServers, OnWhipPublish } from './whip-types.ts';

export type WhipServerOptions = {
  /** 0 = any free port. */
  port: number;
  bindAddress: string;
  logger: Logger;
  onPublish: OnWhipPublish;
  onIceServers: OnWhipIceServers;
  limits?: Partial<WhipLimits>;
};

export type WhipServer = {
  readonly port: number;
  /** Stops listening and drops open connections; sessions are their owner's. Idempotent. */
  close(cause: string): Promise<void>;
};

/** How exactly the time limits of headers and requests are kept. */
const CONNECTION_CHECK_INTERVAL_MS = 1_000;

/** @throws ServiceError unavailable when the address cannot be bound. */
export async function startWhipServer(options: WhipServerOptions): Promise<WhipServer> {
  const limits: WhipLimits = { ...WHIP_LIMITS, ...options.limits };
  const requests = new WhipRequests({ ...options, limits });
  const serverOptions = {
    maxHeaderSize: limits.maxHeaderBytes,
    connectionsCheckingInterval: CONNECTION_CHECK_INTERVAL_MS,
  };
  const server = createServer(serverOptions, (req, res) => {
    requests.handle(req, res);
  });
  server.headersTimeout = limits.headersTimeoutMs;
  server.requestTimeout = limits.headersTimeoutMs + limits.bodyTimeoutMs;
  server.keepAliveTimeout = limits.keepAliveTimeoutMs;
  server.maxHeadersCount = HTTP_LIMITS.headerCount;
  server.on('connection', (socket) => {
    const remoteAddress = socket.remoteAddress ?? '';
    const refusal = requests.limiter.open(remoteAddress);
    if (refusal !== undefined) {
      options.logger.warn({ remoteAddress, refusal }, 'whip connection refused');
      socket.destroy();
      return;
    }
    socket.once('close', () => {
      requests.limiter.release(remoteAddress);
    });
  });
  await listen(server, options);
  let closing: Promise<void> | undefined;
  return {
    port: (server.address() as AddressInfo).port,
    close() {
      closing ??= new Promise((resolve) => {
        server.close(() => {
          resolve();
        });
        server.closeAllConnections();
      });
      return closing;
    },
  };
}

/** The encoders' WHIP endpoint (RFC 9725): `POST /{app}` with a bearer or `POST /{app}/{stream key}`. */
class WhipRequests {
  readonly limiter: AddressLimiter;
  readonly #rate: RequestRate;
  readonly #limits: WhipLimits;
  readonly #logger: Logger;
  readonly #onPublish: OnWhipPublish;
  readonly #onIceServers: OnWhipIceServers;
  readonly #resources = new WhipResources();

  constructor(options: WhipServerOptions & { limits: WhipLimits }) {
    this.#limits = options.limits;
    this.#logger = options.logger;
    this.#onPublish = options.onPublish;
    this.#onIceServers = options.onIceServers;
    this.limiter = new AddressLimiter(options.limits);
    this.#rate = new RequestRate({ burst: options.limits.requestBurst, perS: options.limits.requestsPerS });
  }

  handle(req: IncomingMessage, res: ServerResponse): void {
    const remoteAddress = req.socket.remoteAddress ?? '';
    this.#answer(req, res, remoteAddress).catch((error: unknown) => {
      const failure = ServiceError.from(error);
      const { httpStatus: status, message: reason } = failure;
      this.#logger.info({ remoteAddress, method: req.method, status, reason }, 'whip request refused');
      sendProblem(req, res, failure, CORS_HEADERS);
    });
  }

  async #answer(req: IncomingMessage, res: ServerResponse, remoteAddress: string): Promise<void> {
    const path = parseWhipPath(req.url ?? '');
    if (!this.#rate.take(remoteAddress) || this.limiter.isBlocked(remoteAddress)) {
      throw new ServiceError('resource_exhausted', 'too many requests from this address; wait a minute');
    }
    if (path.kind === 'health') {
      res.writeHead(200, { 'content-type': 'text/plain' }).end('Healthy');
    } else if (req.method === 'OPTIONS') {
      await this.#options(req, res, path, remoteAddress);
    } else if (req.method === 'GET' || req.method === 'HEAD') {
      res.writeHead(204, CORS_HEADERS).end();
    } else if (path.kind === 'session') {
      await this.#onSession(req, res, path, remoteAddress);
    } else if (req.method === 'POST') {
      await this.#publish(req, res, path, remoteAddress);
    } else {
      throw notAllowed(res, 'POST, GET, OPTIONS');
    }
  }

  /** Who shows a key is told the ICE servers as well: some encoders cannot take them after their offer. */
  async #options(
    req: IncomingMessage,
    res: ServerResponse,
    path: Extract<WhipPath, { kind: 'endpoint' | 'session' }>,
    remoteAddress: string,
  ): Promise<void> {
    const streamKey = path.kind === 'session' ? '' : path.streamKey || bearerOf(req);
    const links =
      streamKey === '' || isPreflight(req.headers)
        ? []
        : await this.#authenticated(remoteAddress, () => this.#onIceServers(streamKey));
    res.writeHead(204, { ...optionsHeaders(path.kind), ...(links.length > 0 ? { link: [...links] } : {}) });
    res.end();
  }

  async #publish(
    req: IncomingMessage,
    res: ServerResponse,
    path: Extract<WhipPath, { kind: 'endpoint' }>,
    remoteAddress: string,
  ): Promise<void> {
    requireMediaType(req.headers['content-type'], SDP_TYPE);
    const bearer = bearerOf(req);
    const streamKey = path.streamKey === '' ? bearer : path.streamKey;
    if (streamKey === '') {
      throw new ServiceError(
        'unauthenticated',
        `no stream key: send it as "Authorization: Bearer <key>" or as POST /${path.app}/<key>`,
      );
    }
    const { session, answer } = await this.#authenticated(remoteAddress, () =>
      this.#onPublish({ streamKey, remoteAddress, readOffer: () => this.#readText(req) }),
    );
    const id = this.#resources.add(session, path.streamKey === '' ? bearer : '');
    res
      .writeHead(201, {
        ...CORS_HEADERS,
        'content-type': SDP_TYPE,
        location: `/${path.app}/resource/${id}`,
        etag: answer.etag,
        ...(answer.links.length > 0 ? { link: [...answer.links] } : {}),
      })
      .end(answer.sdp);
  }

  async #onSession(
    req: IncomingMessage,
    res: ServerResponse,
    { id }: Extract<WhipPath, { kind: 'session' }>,
    remoteAddress: string,
  ): Promise<void> {
    const session = await this.#authenticated(remoteAddress, () =>
      Promise.resolve(this.#resources.find(id, bearerOf(req))),
    );
    if (req.method === 'DELETE') {
      // RFC 9725 section 4.2: If-Match is not looked at.
      await session.stop('the encoder stopped');
      this.#resources.remove(id);
      res.writeHead(200, CORS_HEADERS).end();
    } else if (req.method === 'PATCH') {
      requireMediaType(req.headers['content-type'], SDP_FRAGMENT_TYPE);
      const reply = await session.patch({
        ifMatch: req.headers['if-match'],
        contentType: mediaType(req.headers['content-type']),
        body: await this.#readText(req),
      });
      const { status, contentType, etag, body } = reply;
      res.writeHead(status, {
        ...CORS_HEADERS,
        ...(contentType === '' ? {} : { 'content-type': contentType }),
        ...(etag === undefined ? {} : { etag }),
      });
      res.end(body);
    } else {
      throw notAllowed(res, 'PATCH, DELETE, GET, OPTIONS');
    }
  }

  /** Counts wrong secrets, and answers them late. */
  async #authenticated<Result>(remoteAddress: string, work: () => Promise<Result>): Promise<Result> {
    const startedMs = performance.now();
    try {
      return await work();
    } catch (error) {
      const code = error instanceof ServiceError ? error.code : 'internal';
      if (code === 'not_found' || code === 'permission_denied') {
        this.limiter.fail(remoteAddress);
        await delay(Math.max(0, this.#limits.refusalDelayMs - (performance.now() - startedMs)));
      }
      throw error;
    }
  }

  async #readText(req: IncomingMessage): Promise<string> {
    const { maxBodyBytes: maxBytes, bodyTimeoutMs: timeoutMs } = this.#limits;
    return (await readBody(req, { maxBytes, timeoutMs })).toString();
  }
}

function notAllowed(res: ServerResponse, allow: string): ServiceError {
  res.setHeader('allow', allow);
  return new ServiceError('bad_route', `this method is not possible here; use ${allow}`, { httpStatus: 405 });
}

function listen(server: Server, { port, bindAddress, logger }: WhipServerOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) => {
      reject(
        new ServiceError(
          'unavailable',
          `WHIP: cannot listen on ${bindAddress}:${port} (${error.message}); set another whip_port`,
          { scope: 'node', cause: error },
        ),
      );
    });
    server.listen(port, bindAddress, () => {
      server.removeAllListeners('error');
      server.on('error', (error) => {
        logger.error({ err: error }, 'whip listener failed');
      });
      resolve();
    });
  });
}
