import { once } from 'node:events';
import { createServer, request, type IncomingMessage, type RequestOptions, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { connect, type AddressInfo } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createLogger } from '../../../services/base/logger.ts';
import type { TlsTrust } from '../../../services/base/net/dial.ts';
import { GuardedProxy } from '../../../services/ingress/url/guarded-proxy.ts';
import { UrlPolicy } from '../../../services/ingress/url/url-policy.ts';
import { selfSigned } from '../../support/tls-front.ts';

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
  tls: TlsTrust = {},
): Promise<{ proxy: GuardedProxy; auth: string; port: number }> {
  const resolve = (host: string): Promise<{ address: string }[]> =>
    Promise.resolve([{ address: host === 'media.test' ? '127.0.0.2' : '127.0.0.1' }]);
  const policy = new UrlPolicy({ allowAddresses, fileRoot: '', resolve, tls });
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

it('connects to the address it has checked, and checks again for every request', async () => {
  const media = await origin(() => 'media');
  // A name that leads to the allowed server first and into the network behind it from then on.
  const answers = ['127.0.0.1', '127.0.0.2'];
  let asked = 0;
  const policy = new UrlPolicy({
    ...{ allowAddresses: ['127.0.0.1/32'], fileRoot: '' },
    resolve: () => Promise.resolve([{ address: answers[asked++] ?? '' }]),
  });
  const proxy = await GuardedProxy.start(policy, logger);
  cleanUps.push(() => proxy.close());
  const { username, password, port } = new URL(proxy.url);
  const credentials = Buffer.from(`${username}:${password}`).toString('base64');
  const fetched = (): Promise<{ status: number; body: string }> =>
    ask({
      ...{ port, path: `http://rebinding.test:${media}/` },
      headers: { 'proxy-authorization': `Basic ${credentials}` },
    });
  expect(await fetched()).toEqual({ status: 200, body: 'media' });
  // Asked once: a second look for the connection would have found the other address.
  expect(asked).toBe(1);
  expect(await fetched()).toMatchObject({ status: 403 });
  expect(proxy.refusal?.message).toContain('rebinding.test is in a private network');
});

describe('TLS', () => {
  let pem: { cert: string; key: string };
  beforeAll(() => {
    pem = selfSigned();
  });

  /** What a client that verifies nothing gets behind the proxy. @returns the answer to CONNECT, and the page. */
  async function askTls(
    host: string,
    tls: TlsTrust,
  ): Promise<{ status: string; page: string; refusal: string }> {
    const origin = createTlsServer(pem, (_request, response) => response.end('behind the tunnel'));
    await new Promise<void>((resolve) => origin.listen(0, '127.0.0.1', resolve));
    cleanUps.push(() => new Promise((resolve) => origin.close(resolve)));
    const { proxy, auth, port } = await proxyFor(['127.0.0.1/32'], tls);
    const socket = connect(port, '127.0.0.1');
    cleanUps.push(() => Promise.resolve(socket.destroy()));
    const target = `${host}:${(origin.address() as AddressInfo).port}`;
    socket.write(`CONNECT ${target} HTTP/1.1\r\nProxy-Authorization: ${auth}\r\n\r\n`);
    const [head] = (await once(socket, 'data')) as [Buffer];
    const status = head.toString().split(' ')[1] ?? '';
    let page = '';
    if (status === '200') {
      const secure = connectTls({ socket, rejectUnauthorized: false });
      secure.write('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
      for await (const chunk of secure) {
        page += String(chunk);
      }
    }
    return { status, page, refusal: proxy.refusal?.message ?? '' };
  }

  it('reaches a server whose certificate is trusted', async () => {
    const { status, page, refusal } = await askTls('localhost', { ca: pem.cert });
    expect([status, refusal]).toEqual(['200', '']);
    expect(page).toMatch(/behind the tunnel$/);
  });

  it('reaches any server when nothing is to be verified', async () => {
    const { status, page } = await askTls('origin.test', { verify: false });
    expect(status).toBe('200');
    expect(page).toMatch(/behind the tunnel$/);
  });

  it.each([
    ['nobody vouches for the server', 'localhost', {}, '502', /TLS failed: self-signed certificate/],
    ['the certificate is for another name', 'origin.test', 'own', '502', /TLS failed: .*origin\.test/],
    ['the address is private', 'media.test', 'own', '403', /media\.test is in a private network/],
  ] as const)('is refused when %s', async (_case, host, trust, status, reason) => {
    const answer = await askTls(host, trust === 'own' ? { ca: pem.cert } : trust);
    expect(answer).toMatchObject({ status, page: '' });
    expect(answer.refusal).toMatch(reason);
  });

  it('ends with a client that does not speak it', async () => {
    const origin = createTlsServer(pem);
    await new Promise<void>((resolve) => origin.listen(0, '127.0.0.1', resolve));
    cleanUps.push(() => new Promise((resolve) => origin.close(resolve)));
    const { auth, port } = await proxyFor(['127.0.0.1/32'], { ca: pem.cert });
    const socket = connect(port, '127.0.0.1');
    const target = `localhost:${(origin.address() as AddressInfo).port}`;
    socket.write(`CONNECT ${target} HTTP/1.1\r\nProxy-Authorization: ${auth}\r\n\r\n`);
    await once(socket, 'data');
    socket.write('GET / HTTP/1.1\r\n\r\n');
    socket.on('error', () => undefined);
    await once(socket, 'close');
  });
});

it('survives a target that refuses or hangs up', async () => {
  const { auth, port } = await proxyFor(['127.0.0.0/8']);
  const headers = { 'proxy-authorization': auth };
  await expect(ask({ port, path: 'http://origin.test:1/', headers })).resolves.toMatchObject({ status: 502 });
});
