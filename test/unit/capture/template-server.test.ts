import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import WebSocket from 'ws';
import { createLogger } from '../../../services/base/logger.ts';
import { CaptureSocket } from '../../../services/egress/capture/capture-socket.ts';
import { startTemplateServer, type TemplateServer } from '../../../services/egress/template-server.ts';

const logger = createLogger({ level: 'silent' });
let dir: string;
let server: TemplateServer;
let capture: CaptureSocket;

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'sluice-templates-'));
  await mkdir(path.join(dir, 'root', 'composite'), { recursive: true });
  await writeFile(path.join(dir, 'secret.txt'), 'secret');
  await writeFile(path.join(dir, 'root', '.hidden'), 'secret');
  await writeFile(path.join(dir, 'root', 'composite', 'index.html'), '<p>page</p>');
  await writeFile(path.join(dir, 'root', 'composite', 'main.js'), 'export {};');
  capture = new CaptureSocket(logger);
  server = await startTemplateServer({
    rootDir: path.join(dir, 'root'),
    port: 0,
    logger,
    handleUpgrade: (req, socket, head) => capture.handleUpgrade(req, socket, head),
  });
});

afterAll(async () => {
  capture.close();
  await server.close();
  await rm(dir, { recursive: true });
});

/** Sends the target as it is; fetch would tidy it up. */
function get(target: string, method = 'GET') {
  return new Promise<{ status: number; type: string; location: string; body: string }>((resolve, reject) => {
    request({ port: server.port, host: '127.0.0.1', path: target, method }, (response) => {
      let body = '';
      response.on('data', (chunk: Buffer) => (body += chunk.toString()));
      response.on('end', () => {
        resolve({
          status: response.statusCode ?? 0,
          type: response.headers['content-type'] ?? '',
          location: response.headers.location ?? '',
          body,
        });
      });
    })
      .on('error', reject)
      .end();
  });
}

test('serves pages and scripts with their types', async () => {
  expect(await get('/composite/?token=x')).toMatchObject({
    status: 200,
    type: 'text/html; charset=utf-8',
    body: '<p>page</p>',
  });
  expect(await get('/composite/main.js')).toMatchObject({
    status: 200,
    type: 'text/javascript; charset=utf-8',
  });
  expect(await get('/composite?layout=grid')).toMatchObject({
    status: 301,
    location: '/composite/?layout=grid',
  });
  expect((await get('/composite/', 'POST')).status).toBe(405);
});

test.each([
  '/../secret.txt',
  '/composite/../../secret.txt',
  '/%2e%2e/secret.txt',
  '/..%2fsecret.txt',
  '/.hidden',
  '/composite/%00',
  '/%',
  '/nothing',
  '/',
])('%s is not found', async (target) => {
  expect(await get(target)).toMatchObject({ status: 404 });
});

test('the capture socket opens for its secret, once', async () => {
  const open = (target: string) =>
    new Promise<boolean>((resolve) => {
      const socket = new WebSocket(`ws://127.0.0.1:${server.port}${target}`);
      socket.on('open', () => {
        resolve(true);
      });
      socket.on('error', () => {
        resolve(false);
      });
    });
  expect(await open('/capture/')).toBe(false);
  expect(await open(`${capture.path.slice(0, -1)}!`)).toBe(false);
  expect(await open(capture.path)).toBe(true);
  expect(await open(capture.path)).toBe(false);
});
