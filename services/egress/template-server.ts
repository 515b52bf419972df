import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import path from 'node:path';
import { ServiceError } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';

const CONTENT_TYPES: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.ico': 'image/x-icon',
  '.txt': 'text/plain; charset=utf-8',
  '.webmanifest': 'application/manifest+json',
};
const MAX_HEADER_BYTES = 16_384;
const REQUEST_TIMEOUT_MS = 10_000;

export type TemplateServerOptions = {
  /** dist/templates: one folder per template. */
  rootDir: string;
  /** 0 = any free port. */
  port: number;
  logger: Logger;
  /** Takes WebSocket upgrades; answers false for those that are not its own. */
  handleUpgrade?: (request: IncomingMessage, socket: Duplex, head: Buffer) => boolean;
};

export type TemplateServer = {
  readonly port: number;
  /** http://127.0.0.1:port – a secure context, which the recorder page needs. */
  readonly baseUrl: string;
  close(): Promise<void>;
};

/**
 * Serves the built pages to the Chrome on this machine; listens on loopback only.
 * @throws ServiceError unavailable when the port is taken.
 */
export async function startTemplateServer(options: TemplateServerOptions): Promise<TemplateServer> {
  const rootDir = path.resolve(options.rootDir);
  const server = createServer({ maxHeaderSize: MAX_HEADER_BYTES, requestTimeout: REQUEST_TIMEOUT_MS });
  server.on('request', (request, response) => {
    serve(rootDir, request, response).catch((error: unknown) => {
      options.logger.error({ err: error }, 'template request failed');
      response.destroy();
    });
  });
  server.on('upgrade', (request, socket, head) => {
    socket.on('error', () => socket.destroy());
    if (options.handleUpgrade?.(request, socket, head) !== true) {
      socket.end('HTTP/1.1 403 Forbidden\r\nconnection: close\r\n\r\n');
    }
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => {
      reject(
        new ServiceError('unavailable', `template port ${options.port} cannot be opened: ${error.message}`, {
          scope: 'node',
          cause: error,
        }),
      );
    });
    server.listen(options.port, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    port,
    baseUrl: `http://127.0.0.1:${port}`,
    close: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function serve(rootDir: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.writeHead(405, { allow: 'GET, HEAD' }).end();
    return;
  }
  const file = await findFile(rootDir, request.url ?? '/');
  if (file === undefined) {
    response.writeHead(404, { 'content-type': 'text/plain; charset=utf-8' }).end('no such page\n');
    return;
  }
  if (file.redirectTo !== undefined) {
    response.writeHead(301, { location: file.redirectTo }).end();
    return;
  }
  response.writeHead(200, {
    'content-type': CONTENT_TYPES[path.extname(file.path)] ?? 'application/octet-stream',
    'content-length': file.sizeBytes,
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    'referrer-policy': 'no-referrer',
  });
  if (request.method === 'HEAD') {
    response.end();
    return;
  }
  createReadStream(file.path)
    .on('error', () => response.destroy())
    .pipe(response);
}

type Found = { path: string; sizeBytes: number; redirectTo?: string };

/** Maps a request target to a file below `rootDir`; anything outside, hidden or malformed is not found. */
async function findFile(rootDir: string, target: string): Promise<Found | undefined> {
  const [rawPath = '/', query] = target.split('?', 2);
  let decoded: string;
  try {
    decoded = decodeURIComponent(rawPath);
  } catch {
    return undefined;
  }
  const parts = decoded.split('/').filter((part) => part !== '');
  if (!decoded.startsWith('/') || parts.some((part) => part.startsWith('.') || /[\\\0]/.test(part))) {
    return undefined;
  }
  const found = await statFile(path.join(rootDir, ...parts));
  if (found === undefined || !found.isDirectory) {
    return found;
  }
  if (!rawPath.endsWith('/')) {
    // Relative script names in the page need the trailing slash.
    return { ...found, redirectTo: `/${parts.join('/')}/${query === undefined ? '' : `?${query}`}` };
  }
  const index = await statFile(path.join(found.path, 'index.html'));
  return index?.isDirectory === false ? index : undefined;
}

async function statFile(file: string): Promise<(Found & { isDirectory: boolean }) | undefined> {
  const stats = await stat(file).catch(() => undefined);
  return stats !== undefined && (stats.isFile() || stats.isDirectory())
    ? { path: file, sizeBytes: stats.size, isDirectory: stats.isDirectory() }
    : undefined;
}
