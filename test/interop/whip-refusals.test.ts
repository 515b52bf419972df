import { request } from 'node:http';
import { connect } from 'node:net';
import { IngressInput } from '@livekit/protocol';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { RoomInternal } from '../../services/bus/rpc-methods.ts';
import { SFU_WHIP_PATH } from '../../services/protocol/whip.ts';
import { ENDPOINT_ERROR, ENDPOINT_PUBLISHING, STREAM_KEY } from '../support/ingress-harness.ts';
import { ObsLikeEncoder } from '../support/obs-like-encoder.ts';
import { AUDIO, offerOf, VIDEO } from '../support/whip-offers.ts';
import { startWhipStage, type WhipStage } from '../support/whip-stage.ts';

const GOOD = offerOf([AUDIO, VIDEO]);
const SDP = { 'content-type': 'application/sdp' };

let stage: WhipStage;
const logged: string[] = [];

beforeEach(async () => {
  logged.length = 0;
  stage = await startWhipStage({
    logger: pino({ level: 'debug' }, { write: (line: string) => void logged.push(line) }),
    whipLimits: { refusalDelayMs: 0 },
  });
});
afterEach(async () => {
  await stage.close();
});

type Answer = {
  status: number;
  headers: Headers;
  text: string;
  problem: { status?: number; detail?: string };
};

async function call(
  method: string,
  path: string,
  options: { bearer?: string; headers?: Record<string, string>; body?: string } = {},
): Promise<Answer> {
  const { bearer, headers, body } = options;
  const response = await fetch(new URL(path, stage.harness.whipUrl), {
    method,
    headers: { ...headers, ...(bearer === undefined ? {} : { authorization: `Bearer ${bearer}` }) },
    ...(body === undefined ? {} : { body }),
  });
  const text = await response.text();
  const isProblem = response.headers.get('content-type') === 'application/problem+json';
  return {
    status: response.status,
    headers: response.headers,
    text,
    problem: isProblem ? (JSON.parse(text) as Answer['problem']) : {},
  };
}

const post = (body: string, path = '/w'): Promise<Answer> =>
  call('POST', path, { bearer: STREAM_KEY, headers: SDP, body });

test.each([
  { what: 'no SDP at all', body: 'hello', status: 400, detail: 'v=0' },
  { what: 'an empty body', body: '', status: 400, detail: 'v=0' },
  {
    what: 'SDP without ICE',
    body: 'v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n',
    status: 400,
    detail: 'ice-ufrag',
  },
  {
    what: 'a thousand media sections',
    body: `${GOOD}${'m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n'.repeat(1000)}`,
    status: 400,
    detail: 'media section',
  },
  { what: 'no media', body: offerOf([]).concat('a=ice-ufrag:abcd\r\n'), status: 400, detail: 'ice' },
  {
    what: 'two videos',
    body: offerOf([VIDEO, { ...VIDEO, mid: '2' }]),
    status: 422,
    detail: 'more than one m=video',
  },
  {
    what: 'two sounds',
    body: offerOf([AUDIO, { ...AUDIO, mid: '2' }]),
    status: 422,
    detail: 'more than one m=audio',
  },
  {
    what: 'a video that belongs to two streams',
    body: offerOf([AUDIO, { ...VIDEO, lines: ['a=msid:one picture', 'a=msid:two picture'] }]),
    status: 422,
    detail: '2 a=msid in the m=video',
  },
  {
    what: 'two sounds in one section',
    body: offerOf([{ ...AUDIO, lines: ['a=msid:one voice', 'a=msid:one music'] }, VIDEO]),
    status: 422,
    detail: '2 a=msid in the m=audio',
  },
  {
    what: 'two videos in one section, as Plan B had them',
    body: offerOf([AUDIO, { ...VIDEO, lines: ['a=ssrc:1 msid:one camera', 'a=ssrc:2 msid:one screen'] }]),
    status: 422,
    detail: '2 a=msid in the m=video',
  },
  {
    what: 'a data channel',
    body: offerOf([AUDIO, { kind: 'application', mid: '2' }]),
    status: 422,
    detail: 'm=application',
  },
  {
    what: 'a receiver',
    body: offerOf([{ ...VIDEO, direction: 'recvonly' }]),
    status: 422,
    detail: 'recvonly',
  },
  {
    what: 'inactive media',
    body: offerOf([{ ...VIDEO, direction: 'inactive' }]),
    status: 422,
    detail: 'inactive',
  },
  {
    what: 'a section with port 0',
    body: offerOf([AUDIO, { ...VIDEO, port: 0 }]),
    status: 422,
    detail: 'port 0',
  },
  {
    what: 'unbundled media',
    body: offerOf([AUDIO, VIDEO], { bundle: false }),
    status: 422,
    detail: 'BUNDLE',
  },
  {
    what: 'separate RTCP',
    body: offerOf([
      { ...AUDIO, without: /rtcp-mux/ },
      { ...VIDEO, without: /rtcp-mux/ },
    ]),
    status: 422,
    detail: 'rtcp-mux',
  },
  {
    what: 'an unknown video codec',
    body: offerOf([AUDIO, { ...VIDEO, codec: '96 MPEG4/90000' }]),
    status: 406,
    detail: 'MPEG4',
  },
  { what: 'PCMU', body: offerOf([{ ...AUDIO, codec: '0 PCMU/8000' }, VIDEO]), status: 406, detail: 'opus' },
  { what: 'mono Opus', body: offerOf([{ ...AUDIO, codec: '111 opus/48000' }]), status: 406, detail: 'opus' },
])('an offer of $what is refused as a whole with $status', async ({ body, status, detail }) => {
  const answer = await post(body);
  expect(answer.status).toBe(status);
  expect(answer.problem.status).toBe(status);
  expect(answer.problem.detail).toContain(detail);
  expect(answer.headers.get('location')).toBeNull();
  // Who looks at the endpoint sees what the encoder was told, and it may be tried again.
  const state = await stage.harness.stateThat(({ status: reported }) => reported === ENDPOINT_ERROR);
  expect(state.error).toContain(detail);
  expect(stage.harness.ingress.activeIngressIds()).toEqual([]);
  expect(await stage.sfu.bus.request(RoomInternal.listRooms, {})).toMatchObject({ rooms: [] });
  expect((await post(GOOD)).status).toBe(201);
});

test.each([undefined, 'text/plain', 'application/json', 'application/sdpx'])(
  'content type %s is refused',
  async (type) => {
    const headers = type === undefined ? { 'content-type': '' } : { 'content-type': type };
    const answer = await call('POST', '/w', { bearer: STREAM_KEY, headers, body: GOOD });
    expect(answer.status).toBe(415);
    expect(answer.problem.detail).toContain('application/sdp');
  },
);

test('a content type with parameters is taken', async () => {
  const headers = { 'content-type': 'Application/SDP; charset=utf-8' };
  expect((await call('POST', '/w', { bearer: STREAM_KEY, headers, body: GOOD })).status).toBe(201);
});

test('a body above 64 KB is refused, announced or not', async () => {
  const huge = GOOD + `a=x:${'y'.repeat(1000)}\r\n`.repeat(100);
  expect((await post(huge)).status).toBe(413);
  const status = await new Promise<number | undefined>((resolve, reject) => {
    const sending = request(
      stage.harness.whipUrl,
      {
        method: 'POST',
        headers: { ...SDP, authorization: `Bearer ${STREAM_KEY}`, 'transfer-encoding': 'chunked' },
      },
      (response) => {
        clearInterval(timer);
        response.resume();
        resolve(response.statusCode);
      },
    );
    sending.on('error', reject);
    // A body that never ends.
    const timer = setInterval(() => sending.write('a=x:'.padEnd(1024, 'y')), 1);
  });
  expect(status).toBe(413);
});

test('a body that does not come is given up, and so are headers', async () => {
  await stage.close();
  stage = await startWhipStage({ whipLimits: { bodyTimeoutMs: 200, headersTimeoutMs: 300 } });
  const { port } = new URL(stage.harness.whipUrl);
  const slow = (text: string): Promise<string> =>
    new Promise((resolve, reject) => {
      let received = '';
      const socket = connect(Number(port), '127.0.0.1', () => socket.write(text));
      socket.on('data', (chunk) => (received += chunk.toString()));
      socket.on('close', () => resolve(received));
      socket.on('error', reject);
    });
  const head = `POST /w HTTP/1.1\r\nHost: x\r\nContent-Type: application/sdp\r\nAuthorization: Bearer ${STREAM_KEY}\r\n`;
  expect(await slow(`${head}Content-Length: 1000\r\n\r\nv=0\r\n`)).toContain('408');
  expect(await slow(head)).toContain('408');
}, 20_000);

test('wrong, missing and disabled keys are told apart, and no room hears of them', async () => {
  const wrong = await call('POST', '/w', { bearer: 'guessedKeyNobodyHas', headers: SDP, body: GOOD });
  expect(wrong.status).toBe(404);
  expect((await call('POST', '/w/guessedKeyNobodyHas', { headers: SDP, body: GOOD })).status).toBe(404);
  const missing = await call('POST', '/w', { headers: SDP, body: GOOD });
  expect(missing.status).toBe(401);
  expect(missing.headers.get('www-authenticate')).toBe('Bearer');
  const info = await stage.harness.store.get('IN_test');
  if (info !== undefined) {
    info.enabled = false;
    await stage.harness.store.put(info);
  }
  const disabled = await post(GOOD);
  expect(disabled.status).toBe(403);
  expect(disabled.problem.detail).toContain('disabled');
  expect(stage.harness.states).toEqual([]);
  expect(await stage.sfu.bus.request(RoomInternal.listRooms, {})).toMatchObject({ rooms: [] });
  expect(logged.join('')).not.toContain('guessedKeyNobodyHas');
});

test('the key of an RTMP endpoint is no WHIP key', async () => {
  const info = await stage.harness.store.get('IN_test');
  if (info !== undefined) {
    info.inputType = IngressInput.RTMP_INPUT;
    await stage.harness.store.put(info);
  }
  expect((await post(GOOD)).status).toBe(404);
});

test('who tries keys is stopped, and others are not told more', async () => {
  await stage.close();
  stage = await startWhipStage({ whipLimits: { refusalDelayMs: 0, maxFailuresPerAddressPerMinute: 5 } });
  const statuses: number[] = [];
  for (let i = 0; i < 8; i++) {
    statuses.push((await call('POST', '/w', { bearer: `guess${i}`, headers: SDP, body: GOOD })).status);
  }
  expect(statuses).toEqual([404, 404, 404, 404, 404, 429, 429, 429]);
  // Even with the right key: an answer would tell that it is the right one.
  expect((await post(GOOD)).status).toBe(429);
});

test('an address that asks too often has to wait, before anything is looked up', async () => {
  await stage.close();
  stage = await startWhipStage({ whipLimits: { requestBurst: 3, requestsPerS: 0 } });
  const statuses = [];
  for (let i = 0; i < 5; i++) {
    statuses.push((await call('OPTIONS', '/w')).status);
  }
  expect(statuses).toEqual([204, 204, 204, 429, 429]);
  for (const [method, path] of [
    ['POST', '/w'],
    ['PATCH', '/w/resource/guessed'],
    ['DELETE', '/w/resource/guessed'],
  ] as const) {
    expect((await call(method, path, { bearer: STREAM_KEY })).status).toBe(429);
  }
});

test('OPTIONS, GET and other methods follow RFC 9725', async () => {
  const options = await call('OPTIONS', '/w');
  expect(options.status).toBe(204);
  expect(options.headers.get('accept-post')).toBe('application/sdp');
  expect(options.headers.get('access-control-allow-origin')).toBe('*');
  expect(options.headers.get('access-control-allow-methods')).toContain('POST');
  expect(options.headers.get('access-control-allow-headers')).toContain('Authorization');
  expect(options.headers.get('link')).toBeNull();
  const get = await call('GET', '/w');
  expect([get.status, get.text]).toEqual([204, '']);
  expect((await call('PUT', '/w', { bearer: STREAM_KEY })).status).toBe(405);
  expect((await call('POST', '/a/b/c/d')).status).toBe(404);
  expect((await call('GET', '/health')).text).toBe('Healthy');
});

test('the answer to a good offer has everything an encoder needs, and no key', async () => {
  const answer = await post(GOOD, '/studio1');
  expect(answer.status).toBe(201);
  expect(answer.headers.get('content-type')).toBe('application/sdp');
  expect(answer.headers.get('location')).toMatch(/^\/studio1\/resource\/\w{32}$/);
  expect(answer.headers.get('etag')).toMatch(/^"[^"]+"$/);
  expect(answer.headers.get('access-control-expose-headers')).toMatch(/Location.*ETag.*Link/);
  expect(answer.text.match(/^a=recvonly/gm)).toHaveLength(2);
  expect(answer.text.match(/^a=rtcp-mux/gm)).toHaveLength(2);
  expect(answer.text).toMatch(/^a=group:BUNDLE 0 1/m);
  expect(answer.text).toMatch(/^a=candidate:.* udp .* typ host/m);
  expect(answer.text).toContain('a=setup:passive');
  expect(Buffer.byteLength(answer.text)).toBeLessThan(8192);
  expect(logged.join('')).toContain('WHIP session started');
  expect(logged.join('')).not.toContain(STREAM_KEY);
});

test('an offer that is DTLS-passive (FFmpeg) makes us the DTLS client', async () => {
  const answer = await post(GOOD.replaceAll('setup:actpass', 'setup:passive'));
  expect(answer.text).toContain('a=setup:active');
});

test('PATCH keeps to its preconditions, and a refused one leaves the session alone', async () => {
  const created = await post(GOOD);
  const etag = created.headers.get('etag') ?? '';
  const location = created.headers.get('location') ?? '';
  const FRAGMENT = { 'content-type': 'application/trickle-ice-sdpfrag' };
  const patch = (headers: Record<string, string>, body: string, bearer = STREAM_KEY): Promise<Answer> =>
    call('PATCH', location, { bearer, headers, body });
  const candidate = 'a=ice-ufrag:abcd1234\r\na=candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host\r\n';
  const restart = 'a=ice-ufrag:wxyz9876\r\na=ice-pwd:ffeeddccbbaa99887766554433221100\r\n';
  expect((await patch(FRAGMENT, candidate)).status).toBe(428);
  expect((await patch({ ...FRAGMENT, 'if-match': '"other"' }, candidate)).status).toBe(412);
  expect((await patch({ 'content-type': 'application/sdp', 'if-match': etag }, candidate)).status).toBe(415);
  expect((await patch({ ...FRAGMENT, 'if-match': etag }, '<html>')).status).toBe(400);
  expect((await patch({ ...FRAGMENT, 'if-match': etag }, restart)).status).toBe(422);
  expect((await patch({ ...FRAGMENT, 'if-match': '*' }, candidate)).status).toBe(400);
  expect((await patch({ ...FRAGMENT, 'if-match': etag }, candidate, 'anotherKey')).status).toBe(403);
  const trickled = await patch({ ...FRAGMENT, 'if-match': etag }, candidate);
  expect([trickled.status, trickled.text, trickled.headers.get('etag')]).toEqual([204, '', null]);
  const restarted = await patch({ ...FRAGMENT, 'if-match': '*' }, restart);
  expect(restarted.status).toBe(200);
  expect(restarted.headers.get('content-type')).toBe('application/trickle-ice-sdpfrag');
  expect(restarted.text).toMatch(/^a=ice-ufrag:/m);
  expect(restarted.headers.get('etag')).not.toBe(etag);
  expect((await patch({ ...FRAGMENT, 'if-match': etag }, candidate)).status).toBe(412);
  expect((await call('DELETE', location, { bearer: STREAM_KEY })).status).toBe(200);
  expect((await call('DELETE', location, { bearer: STREAM_KEY })).status).toBe(404);
});

test("DELETE with another's key or none ends nothing", async () => {
  const encoder = await ObsLikeEncoder.start({
    url: stage.harness.whipUrl,
    bearer: STREAM_KEY,
    layers: [{ width: 320, height: 180, bitrateKbps: 300 }],
  });
  try {
    await stage.harness.stateThat(({ status }) => status === ENDPOINT_PUBLISHING);
    const path = new URL(encoder.location).pathname;
    expect((await call('DELETE', path)).status).toBe(401);
    expect((await call('DELETE', path, { bearer: 'anotherKey' })).status).toBe(403);
    expect((await call('DELETE', `${path.slice(0, -1)}_`, { bearer: STREAM_KEY })).status).toBe(404);
    const viewer = await stage.viewer();
    await viewer.until(() => viewer.frames.length >= 15);
    expect(stage.harness.ingress.activeIngressIds()).toEqual(['IN_test']);
  } finally {
    await encoder.stop();
  }
});

test('the room server itself wants a room token before it reads anything', async () => {
  const url = `${stage.sfu.httpUrl}${SFU_WHIP_PATH}`;
  const attempt = async (token: string): Promise<number> => {
    const headers = { ...SDP, authorization: `Bearer ${token}` };
    return (await fetch(url, { method: 'POST', headers, body: GOOD })).status;
  };
  expect(await attempt('')).toBe(401);
  expect(await attempt('not.a.token')).toBe(401);
  const listener = await stage.sfu.joinToken('listener', 'studio', { video: { canPublish: false } });
  expect(await attempt(listener)).toBe(403);
  expect(await attempt(await stage.sfu.joinToken('obs', 'studio'))).toBe(201);
});
