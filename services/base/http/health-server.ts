import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { ServiceError } from '../errors.ts';
import { HTTP_LIMITS } from './http-limits.ts';

export type HealthOptions = {
  /** 0 = any free port. */
  port: number;
  bindAddress: string;
  /** JSON of `GET /readyz`; 503 unless ready. */
  ready: () => { ready: boolean };
  /** `GET /availability`, as LiveKit's ingress answers it; default: always. */
  available?: () => boolean;
  /** JSON of `GET /status`; nothing secret. */
  status: () => object;
  metrics: { render(): Promise<{ contentType: string; text: string }> };
};

type Answer = { status: number; contentType: string; body: string };

const TEXT = 'text/plain; charset=utf-8';
const JSON_TYPE = 'application/json; charset=utf-8';

/**
 * Health, status and metrics of a process without an API.
 * @throws ServiceError unavailable when the port is taken.
 */
export async function startHealthServer(
  options: HealthOptions,
): Promise<{ port: number; close(cause: string): Promise<void> }> {
  const server = createServer({ maxHeaderSize: HTTP_LIMITS.headerBytes }, (request, response) => {
    request.resume();
    answer(options, request.url ?? '/')
      .catch((): Answer => ({ status: 500, contentType: TEXT, body: 'internal error\n' }))
      .then(({ status, contentType, body }) => {
        response.writeHead(status, { 'content-type': contentType }).end(body);
      })
      .catch(() => response.destroy());
  });
  server.headersTimeout = HTTP_LIMITS.headersTimeoutMs;
  server.requestTimeout = HTTP_LIMITS.requestTimeoutMs;
  server.maxHeadersCount = HTTP_LIMITS.headerCount;
  server.maxConnections = HTTP_LIMITS.connections;
  const { port, bindAddress } = options;
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) => {
      reject(
        new ServiceError('unavailable', `health port ${port} on ${bindAddress}: ${cause.message}`, {
          scope: 'node',
          cause,
        }),
      );
    });
    server.listen(port, bindAddress, resolve);
  });
  let closing: Promise<void> | undefined;
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      (closing ??= new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      })),
  };
}

async function answer({ ready, available, status, metrics }: HealthOptions, url: string): Promise<Answer> {
  switch (url.split('?', 1)[0]) {
    case '/': // in the words of LiveKit's ingress
      return { status: 200, contentType: TEXT, body: 'Healthy' };
    case '/healthz':
      return { status: 200, contentType: TEXT, body: 'OK' };
    case '/readyz': {
      const state = ready();
      return { status: state.ready ? 200 : 503, contentType: JSON_TYPE, body: JSON.stringify(state) };
    }
    case '/availability':
      return available?.() === false
        ? { status: 503, contentType: TEXT, body: 'No availability' }
        : { status: 200, contentType: TEXT, body: 'Available' };
    case '/status':
      return { status: 200, contentType: JSON_TYPE, body: JSON.stringify(status()) };
    case '/metrics': {
      const { contentType, text } = await metrics.render();
      return { status: 200, contentType, body: text };
    }
    default:
      return { status: 404, contentType: TEXT, body: 'nothing here\n' };
  }
}
