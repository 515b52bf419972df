import { createHmac } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { SFU_WHIP_PATH } from '../../services/protocol/whip.ts';
import { ENDPOINT_INACTIVE, STREAM_KEY } from '../support/ingress-harness.ts';
import { AUDIO, offerOf, VIDEO } from '../support/whip-offers.ts';
import { startWhipServices, type WhipServices } from '../support/whip-services.ts';

/** RFC 9725 section by section, where whip-refusals.test.ts and the tests with real encoders do not look already. */
const OFFER = offerOf([AUDIO, VIDEO]);
const SDP = { 'content-type': 'application/sdp' };
const FRAGMENT = { 'content-type': 'application/trickle-ice-sdpfrag' };
const KEY = { authorization: `Bearer ${STREAM_KEY}` };
const TTL_S = 600;
const TURN = { port: 3478, username: '', credential: '', secret: '', ttlS: TTL_S };

let services: WhipServices;
let session: { url: URL; response: Response };

beforeAll(async () => {
  services = await startWhipServices({
    sfuOptions: {
      iceServers: {
        stunServers: ['stun.example.com:3478'],
        turnServers: [
          { ...TURN, host: 'turn.example.com', protocol: 'udp', username: 'user', credential: 'pa"ss' },
          { ...TURN, host: '192.0.2.7', port: 443, protocol: 'tls', secret: 'shared' },
        ],
      },
    },
  });
});
beforeEach(async () => {
  session = await create();
});
afterAll(async () => {
  await services.close();
});

/** The endpoint has one session at a time: what a test left is ended first. */
async function create(): Promise<typeof session> {
  const [running] = services.harness.ingress.activeIngressIds();
  if (running !== undefined) {
    expect((await call('DELETE', KEY)).status).toBe(200);
  }
  const response = await fetch(services.harness.whipUrl, {
    method: 'POST',
    headers: { ...SDP, ...KEY },
    body: OFFER,
  });
  expect(response.status).toBe(201);
  return { response, url: new URL(response.headers.get('location') ?? '', services.harness.whipUrl) };
}

function call(method: string, headers: Record<string, string> = {}, body?: string): Promise<Response> {
  return fetch(session.url, { method, headers, ...(body === undefined ? {} : { body }) });
}

test('4.2: the answer is SDP, with a session URL and a strong entity tag', () => {
  const { headers } = session.response;
  expect(headers.get('content-type')).toBe('application/sdp');
  expect(headers.get('etag')).toMatch(/^"[\x21\x23-\x7e]+"$/);
  expect(session.url.href).not.toContain(STREAM_KEY);
});

test.each(['GET', 'HEAD'])('4.2: %s on either URL answers 2xx with nothing in it', async (method) => {
  for (const url of [session.url, services.harness.whipUrl]) {
    const response = await fetch(url, { method, headers: KEY });
    expect([response.status, await response.text()]).toEqual([204, '']);
  }
});

test.each(['POST', 'PUT'])(
  '4.2: %s on the session is refused, and it is said what is not',
  async (method) => {
    const response = await call(method, { ...SDP, ...KEY }, OFFER);
    expect(response.status).toBe(405);
    expect(response.headers.get('allow')).toBe('PATCH, DELETE, GET, OPTIONS');
    expect(response.headers.get('access-control-allow-origin')).toBe('*');
  },
);

test.each(['PUT', 'PATCH', 'DELETE'])('4.2: %s on the endpoint is refused likewise', async (method) => {
  const response = await fetch(services.harness.whipUrl, { method, headers: KEY });
  expect(response.status).toBe(405);
  expect(response.headers.get('allow')).toBe('POST, GET, OPTIONS');
});

test('4.2: OPTIONS says what a session takes, to browsers of any origin and without a key', async () => {
  const response = await call('OPTIONS', {
    origin: 'https://studio.example',
    'access-control-request-method': 'PATCH',
    'access-control-request-headers': 'authorization,content-type,if-match',
  });
  expect(response.status).toBe(204);
  expect(response.headers.get('accept-patch')).toBe('application/trickle-ice-sdpfrag');
  expect(response.headers.get('access-control-allow-methods')).toContain('PATCH');
  expect(response.headers.get('access-control-allow-methods')).toContain('DELETE');
  expect(response.headers.get('access-control-allow-headers')).toContain('If-Match');
});

test('4.2: DELETE looks at no precondition, and ends the session for good', async () => {
  expect((await call('DELETE', { ...KEY, 'if-match': '"stale"' })).status).toBe(200);
  await services.harness.stateThat(({ status }) => status === ENDPOINT_INACTIVE);
  const restart = 'a=ice-ufrag:wxyz9876\r\na=ice-pwd:ffeeddccbbaa99887766554433221100\r\n';
  expect((await call('PATCH', { ...KEY, ...FRAGMENT, 'if-match': '*' }, restart)).status).toBe(404);
});

test('4.3: PATCH takes trickled candidates of every section and the end of them', async () => {
  const etag = session.response.headers.get('etag') ?? '';
  const body = [
    'a=group:BUNDLE 0 1',
    'm=audio 9 UDP/TLS/RTP/SAVPF 0',
    'a=mid:0',
    'a=ice-ufrag:abcd1234',
    'a=ice-pwd:00112233445566778899aabbccddeeff',
    'a=candidate:1 1 udp 2130706431 2001:db8::1 5000 typ host',
    'a=candidate:2 1 tcp 1015022847 192.0.2.1 9 typ host tcptype active',
    'a=candidate:3 1 udp 1686052607 203.0.113.1 5001 typ srflx raddr 192.0.2.1 rport 5000 generation 0',
    'a=candidate:4 1 udp 2130706431 4f7a.local 5002 typ host',
    'a=end-of-candidates',
    '',
  ].join('\r\n');
  const response = await call('PATCH', { ...KEY, ...FRAGMENT, 'if-match': etag }, body);
  expect([response.status, await response.text()]).toEqual([204, '']);
  expect(response.headers.get('etag')).toBeNull();
});

test.each([
  ['a weak tag', (etag: string) => `W/${etag}`, 412],
  ['a tag without its quotes', (etag: string) => etag.slice(1, -1), 412],
  ['one of several', (etag: string) => `"other", ${etag}`, 204],
])('4.3: If-Match with %s', async (_what, ifMatch, status) => {
  const etag = ifMatch(session.response.headers.get('etag') ?? '');
  const response = await call('PATCH', { ...KEY, ...FRAGMENT, 'if-match': etag }, 'a=end-of-candidates\r\n');
  expect(response.status).toBe(status);
});

test.each([
  ['as many candidates as nobody has', 400, 'a=candidate:1 1 udp 1 192.0.2.1 5000 typ host\r\n'.repeat(200)],
  ['more than 64 KB', 413, `a=x:${'y'.repeat(70_000)}\r\n`],
  ['a password too short to be one', 400, 'a=ice-ufrag:abcd1234\r\na=ice-pwd:short\r\n'],
  ['no line of SDP', 400, '{"candidate": ""}'],
])('4.3: a PATCH with %s changes nothing', async (_what, status, body) => {
  const etag = session.response.headers.get('etag') ?? '';
  expect((await call('PATCH', { ...KEY, ...FRAGMENT, 'if-match': etag }, body)).status).toBe(status);
  const next = await call('PATCH', { ...KEY, ...FRAGMENT, 'if-match': etag }, 'a=end-of-candidates\r\n');
  expect(next.status).toBe(204);
});

test('4.3: each ICE restart has a tag of its own, and names every candidate again', async () => {
  const tags = [session.response.headers.get('etag')];
  for (const ufrag of ['first234', 'second34']) {
    const body = `a=ice-ufrag:${ufrag}\r\na=ice-pwd:ffeeddccbbaa99887766554433221100\r\n`;
    const response = await call('PATCH', { ...KEY, ...FRAGMENT, 'if-match': '*' }, body);
    expect(response.status).toBe(200);
    tags.push(response.headers.get('etag'));
    const fragment = await response.text();
    expect(fragment.match(/^a=candidate:.* udp .* typ host/gm)).toHaveLength(1);
    expect(fragment.match(/^a=candidate:.* tcp .* typ host tcptype passive/gm)).toHaveLength(1);
    expect(fragment).toMatch(/^a=end-of-candidates/m);
  }
  expect(new Set(tags).size).toBe(3);
});

test('4.5: with the key in the URL, the session URL is the secret', async () => {
  await call('DELETE', KEY);
  const response = await fetch(`${services.harness.whipUrl}/${STREAM_KEY}`, {
    method: 'POST',
    headers: SDP,
    body: OFFER,
  });
  expect(response.status).toBe(201);
  session = { response, url: new URL(response.headers.get('location') ?? '', services.harness.whipUrl) };
  expect(session.url.href).not.toContain(STREAM_KEY);
  expect((await call('DELETE')).status).toBe(200);
});

/** fetch joins headers of one name. */
function linksOf(response: Response): string[] {
  return response.headers.get('link')?.split(/, (?=<)/) ?? [];
}

test('4.6: every configured STUN and TURN server has a Link header of its own', () => {
  const [stun, turn, turns = '', ...others] = linksOf(session.response);
  expect(stun).toBe('<stun:stun.example.com:3478>; rel="ice-server"');
  expect(turn).toBe(
    String.raw`<turn:turn.example.com:3478?transport=udp>; rel="ice-server"; username="user"; credential="pa\"ss"; credential-type="password"`,
  );
  const [, username = '', credential] =
    /^<turns:192\.0\.2\.7:443\?transport=tcp>; rel="ice-server"; username="([^"]+)"; credential="([^"]+)"/.exec(
      turns,
    ) ?? [];
  const [until, identity] = username.split(':');
  expect(Number(until) - Date.now() / 1000).toBeGreaterThan(TTL_S - 60);
  expect(identity).toBe('obs');
  expect(credential).toBe(createHmac('sha1', 'shared').update(username).digest('base64'));
  expect(others).toEqual([]);
  expect(session.response.headers.get('access-control-expose-headers')).toContain('Link');
});

test('4.6: OPTIONS tells the servers to who shows a key, and never to a preflight', async () => {
  const ask = (headers: Record<string, string>): Promise<Response> =>
    fetch(services.harness.whipUrl, { method: 'OPTIONS', headers });
  const asked = await ask(KEY);
  expect([asked.status, asked.headers.get('accept-post')]).toEqual([204, 'application/sdp']);
  expect(linksOf(asked).slice(0, 2)).toEqual(linksOf(session.response).slice(0, 2));
  expect(linksOf(asked)[2]).toContain(':obs"; credential=');
  for (const headers of [{}, { ...KEY, 'access-control-request-method': 'POST' }]) {
    const response = await ask(headers);
    expect([response.status, response.headers.get('link')]).toEqual([204, null]);
  }
  const wrong = await ask({ authorization: 'Bearer nobodysKey' });
  expect([wrong.status, wrong.headers.get('link')]).toEqual([404, null]);
});

test('the room server gives the same servers to WHIP encoders and to clients of rooms', async () => {
  const token = await services.sfu.joinToken('camera', 'other');
  const response = await fetch(`${services.sfu.httpUrl}${SFU_WHIP_PATH}`, {
    method: 'POST',
    headers: { ...SDP, authorization: `Bearer ${token}` },
    body: OFFER,
  });
  expect(linksOf(response)).toHaveLength(3);
  const put = await fetch(`${services.sfu.httpUrl}${SFU_WHIP_PATH}`, {
    method: 'PUT',
    headers: { authorization: `Bearer ${token}` },
  });
  expect([put.status, put.headers.get('allow')]).toEqual([405, 'POST, GET, OPTIONS']);
});
