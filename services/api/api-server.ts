import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { fastify, type FastifyInstance } from 'fastify';
import { ServiceError } from '../base/errors.ts';
import { HTTP_LIMITS } from '../base/http/http-limits.ts';
import type { Logger } from '../base/logger.ts';
import type { Metrics } from '../base/metrics/metrics.ts';
import type { Bus } from '../bus/bus.ts';
import type { EgressStore } from '../bus/egress-store.ts';
import type { IngressStore } from '../bus/ingress-store.ts';
import type { ApiKeys } from '../protocol/token.ts';
import { twirpError } from '../protocol/twirp.ts';
import { egressApi } from './egress-api.ts';
import { mountHome } from './home.ts';
import { ingressApi, type IngressBaseUrls } from './ingress-api.ts';
import { serveIoInfo } from './io-info.ts';
import { roomApi } from './room-api.ts';
import { mountTwirp } from './twirp-mount.ts';
import type { WebhookDispatcher } from './webhooks/webhook-dispatcher.ts';

/** What other services put on the same port. */
export type HttpMounts = {
  /** WebSocket upgrades; false = not mine. */
  upgrade: (request: IncomingMessage, socket: Duplex, head: Buffer) => boolean;
  /** Plain requests; false = not mine. */
  request: (request: IncomingMessage, response: ServerResponse) => boolean;
};

export type ReadyCheck = { ready: boolean; checks: Record<string, boolean> };

export type ApiOptions = {
  bus: Bus;
  keys: ApiKeys;
  logger: Logger;
  metrics: Metrics;
  port: number;
  /** The first one decides the port when `port` is 0. */
  bindAddresses: readonly string[];
  mounts: HttpMounts;
  egressStore: EgressStore;
  ingressStore: IngressStore;
  webhooks: WebhookDispatcher;
  ingressBaseUrls: () => IngressBaseUrls;
  recordingsDir: string;
  homeDir: string;
  openOnLoopback: boolean;
  /** JSON for `GET /status`: ports, versions, nodes; nothing secret. */
  status: () => object;
  ready: () => ReadyCheck;
};

export type Api = { port: number; close(cause: string): Promise<void> };

/** The HTTP face: Twirp API, first page, health, metrics, and the SFU's mounts, all on one port. */
export async function startApi(options: ApiOptions): Promise<Api> {
  const { logger, mounts } = options;
  const stopServingRecords = await serveIoInfo(options);
  const app = createApp();
  app.addHook('onRequest', (request, reply, done) => {
    if (mounts.request(request.raw, reply.raw)) {
      reply.hijack();
      return;
    }
    done();
  });
  addCors(app);
  mountTwirp(app, {
    routes: [
      ...roomApi(options.bus),
      ...egressApi(options.bus, options.egressStore),
      ...ingressApi({
        bus: options.bus,
        store: options.ingressStore,
        logger,
        ingressBaseUrls: options.ingressBaseUrls,
      }),
    ],
    keys: options.keys,
    logger,
    metrics: options.metrics,
  });
  mountHome(app, options);
  mountHealth(app, options);
  await app.ready();

  const servers: Server[] = [];
  const sockets = new Set<Duplex>();
  let port = options.port;
  for (const address of options.bindAddresses) {
    const server = createServer({ maxHeaderSize: HTTP_LIMITS.headerBytes }, (request, response) => {
      app.routing(request, response);
    });
    limitServer(server);
    server.on('connection', (socket) => {
      sockets.add(socket);
      socket.once('close', () => sockets.delete(socket));
    });
    server.on('upgrade', (request, socket, head) => {
      upgrade(mounts, request, socket, head);
    });
    port = await listen(server, port, address);
    servers.push(server);
  }
  logger.info({ port, addresses: options.bindAddresses }, 'API listening');

  let closing: Promise<void> | undefined;
  return {
    port,
    close(cause) {
      closing ??= (async () => {
        logger.info({ cause }, 'API closing');
        const closed = Promise.all(
          servers.map((server) => new Promise<void>((resolve) => server.close(() => resolve()))),
        );
        for (const socket of sockets) {
          socket.destroy();
        }
        await closed;
        await app.close();
        await stopServingRecords();
      })();
      return closing;
    },
  };
}

function createApp(): FastifyInstance {
  const app = fastify({
    logger: false,
    bodyLimit: HTTP_LIMITS.bodyBytes,
    exposeHeadRoutes: true,
    routerOptions: { ignoreDuplicateSlashes: true, maxParamLength: 1024 },
  });
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => {
    done(null, body);
  });
  app.setErrorHandler(async (error, _request, reply) => {
    const { status, body } = twirpError(asServiceError(error));
    await reply.code(status).send(body);
  });
  app.setNotFoundHandler(async (request, reply) => {
    await reply
      .code(404)
      .send({ code: 'bad_route', msg: `nothing at ${request.method} ${pathOf(request.url)}` });
  });
  return app;
}

/** Fastify's own refusals (body too large, bad framing…) carry a status and a readable message. */
function asServiceError(error: unknown): unknown {
  const { statusCode, message } = error as { statusCode?: number; message?: string };
  if (error instanceof ServiceError || statusCode === undefined || statusCode >= 500) {
    return error;
  }
  return new ServiceError(statusCode === 413 ? 'resource_exhausted' : 'malformed', message ?? 'bad request', {
    blame: 'caller',
  });
}

/** Token-authenticated calls may come from any web page, as with LiveKit; the page's own endpoints may not. */
function addCors(app: FastifyInstance): void {
  app.addHook('onRequest', async (request, reply) => {
    if (!request.url.startsWith('/twirp/')) {
      return;
    }
    reply.header('access-control-allow-origin', '*');
    if (request.method === 'OPTIONS') {
      await reply
        .headers({
          'access-control-allow-methods': 'POST, OPTIONS',
          'access-control-allow-headers': 'Authorization, Content-Type, X-Twirp-Timeout-Ms',
          'access-control-max-age': '86400',
        })
        .code(204)
        .send();
    }
  });
}

function mountHealth(app: FastifyInstance, options: ApiOptions): void {
  app.get('/healthz', async (_request, reply) => reply.type('text/plain').send('OK'));
  app.get('/readyz', async (_request, reply) => {
    const state = options.ready();
    return reply.code(state.ready ? 200 : 503).send(state);
  });
  app.get('/status', async (_request, reply) => reply.send(options.status()));
  app.get('/metrics', async (_request, reply) => {
    const { contentType, text } = await options.metrics.render();
    return reply.type(contentType).send(text);
  });
}

function limitServer(server: Server): void {
  server.headersTimeout = HTTP_LIMITS.headersTimeoutMs;
  server.requestTimeout = HTTP_LIMITS.requestTimeoutMs;
  server.keepAliveTimeout = HTTP_LIMITS.keepAliveTimeoutMs;
  server.maxHeadersCount = HTTP_LIMITS.headerCount;
  server.maxConnections = HTTP_LIMITS.connections;
}

function upgrade(mounts: HttpMounts, request: IncomingMessage, socket: Duplex, head: Buffer): void {
  socket.on('error', () => socket.destroy());
  if (!mounts.upgrade(request, socket, head)) {
    socket.end('HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
  }
}

function listen(server: Server, port: number, host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const hint =
        error.code === 'EADDRINUSE' ? 'is in use: stop the other program or set "port"' : error.message;
      reject(
        new ServiceError('unavailable', `TCP port ${port} on ${host} ${hint}`, {
          scope: 'node',
          cause: error,
        }),
      );
    });
    server.listen(port, host, () => {
      resolve((server.address() as AddressInfo).port);
    });
  });
}

function pathOf(url: string): string {
  return url.split('?', 1)[0]?.slice(0, 200) ?? '';
}
