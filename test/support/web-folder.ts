import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';

export type WebFolder = {
  url: string;
  /** Paths that were asked for, in order. */
  paths: string[];
  close(): Promise<void>;
};

/** True: it has answered. */
export type Answer = (path: string, response: ServerResponse, request: IncomingMessage) => boolean;

const TYPES: Readonly<Record<string, string>> = {
  '.m3u8': 'application/vnd.apple.mpegurl',
  '.ts': 'video/mp2t',
  '.mp4': 'video/mp4',
};

/** A plain web server over one folder, with byte ranges. @param answer is asked first. */
export async function startWebFolder(folder: string, answer: Answer = () => false): Promise<WebFolder> {
  const paths: string[] = [];
  const server = createServer((request, response) => {
    const name = new URL(request.url ?? '/', 'http://folder').pathname.slice(1);
    paths.push(name);
    if (!answer(name, response, request)) {
      serve(path.join(folder, path.basename(name)), request, response).catch(() => {
        response.writeHead(404).end();
      });
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    paths,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function serve(file: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { size } = await stat(file);
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
  const start = Number(range?.[1] ?? 0);
  const end = range?.[2] === undefined || range[2] === '' ? size - 1 : Number(range[2]);
  response.writeHead(range === null ? 200 : 206, {
    'content-type': TYPES[path.extname(file)] ?? 'application/octet-stream',
    'content-length': end - start + 1,
    'accept-ranges': 'bytes',
    ...(range === null ? {} : { 'content-range': `bytes ${start}-${end}/${size}` }),
  });
  createReadStream(file, { start, end })
    .on('error', () => response.destroy())
    .pipe(response);
}
