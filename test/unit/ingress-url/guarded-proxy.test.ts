import { createServer, request, type IncomingMessage, type RequestOptions, type Server } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import { afterEach, expect, it } from 'vitest';
import { createLogger } from '../../../services/base/logger.ts';
import { GuardedProxy } from '../../../services/ingress/url/guarded-proxy.ts';
import { UrlPolicy } from '../../../services/ingress/url/url-policy.ts';

const logger = createLogger({ level: 'silent' });
const cleanUps: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  await Promise.all(cleanUps.splice(0).map((cleanUp) => cleanUp()));
});

async function origin(answer: (request: IncomingMessage) => string): Promise<number> {
  const server: Server = createServer((req, res) => res.end(answer(req)));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanUps.push(() => new Promise((resolve) => server.close(resolve)));
  return (server.address() as AddressInfo).port;
}

async function proxyFor(
  allowAddresses: string[],
): Promise<{ proxy: GuardedProxy; auth: string; port: number }> {
  const resolve = (host: string): Promise<{ address: string }[]> =>
    Promise.resolve([{ address: host === 'media.test' ? '127.0.0.2' : '127.0.0.1' }]);
  const policy = new UrlPolicy({ allowAddresses, fileRoot: '', resolve });
  const proxy = await GuardedProxy.start(policy, logger);
  cleanUps.push(() => proxy.close());
  const url = new URL(proxy.url);
  const auth = `Basic ${Buffer.from(`${url.username}:${url.password}`).toString('base64')}`;
  return { proxy, auth, port: Number(url.port) };
}

function ask(options: RequestOptions): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    request({ host: '127.0.0.1', agent: false, ...options }, (response) => {
      let body = '';
      response.on('data', (chunk: Buffer) => (body += chunk.toString()));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body }));
    })
      .on('error', reject)
      .end();
  });
}

it('forwards to allowed addresses, without its password', async () => {
  const seen: IncomingMessage[] = [];
  const media = await origin((req) => {
    seen.push(req);
    return 'media';
  });
  const { auth, port } = await proxyFor(['127.0.0.1/32']);
  const headers = { 'proxy-authorization': auth, range: 'bytes=0-' };
  const answer = await ask({ port, path: `http://origin.test:${media}/a.mp4?x=1`, headers });
  expect(answer).toEqual({ status: 200, body: 'media' });
  expect(seen[0]?.url).toBe('/a.mp4?x=1');
  expect(seen[0]?.headers).toMatchObject({ host: `origin.test:${media}`, range: 'bytes=0-' });
  expect(seen[0]?.headers['proxy-authorization']).toBeUndefined();
});

it('asks for its password first', async () => {
  const { port } = await proxyFor(['127.0.0.0/8']);
  for (const headers of [{}, { 'proxy-authorization': 'Basic c2x1aWNlOndyb25n' }]) {
    await expect(ask({ port, path: 'http://origin.test/', headers })).resolves.toMatchObject({ status: 407 });
  }
});

it('refuses what the policy refuses, and remembers why', async () => {
  const { proxy, auth, port } = await proxyFor(['127.0.0.1/32']);
  const headers = { 'proxy-authorization': auth };
  await expect(ask({ port, path: 'http://media.test/', headers })).resolves.toMatchObject({ status: 403 });
  expect(proxy.refusal?.message).toContain('media.test is in a private network');
  await expect(ask({ port, path: '/relative', headers })).resolves.toMatchObject({ status: 400 });
});

it.each([
  ['an allowed address', 'origin.test', 200],
  ['a private address', 'media.test', 403],
])('tunnels TLS to %s only', async (_name, host, status) => {
  const target = await origin(() => 'behind the tunnel');
  const { auth, port } = await proxyFor(['127.0.0.1/32']);
  const socket = connect(port, '127.0.0.1');
  cleanUps.push(() => Promise.resolve(socket.destroy()));
  socket.write(`CONNECT ${host}:${target} HTTP/1.1\r\nProxy-Authorization: ${auth}\r\n\r\n`);
  let text = '';
  await new Promise<void>((resolve) => {
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString();
      if (status === 200 && text.endsWith('Established\r\n\r\n')) {
        socket.write('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
      }
    });
    socket.on('close', () => resolve());
  });
  expect(text).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
  expect(text.includes('behind the tunnel')).toBe(status === 200);
});

it('survives a target that refuses or hangs up', async () => {
  const { auth, port } = await proxyFor(['127.0.0.0/8']);
  const headers = { 'proxy-authorization': auth };
  await expect(ask({ port, path: 'http://origin.test:1/', headers })).resolves.toMatchObject({ status: 502 });
});
