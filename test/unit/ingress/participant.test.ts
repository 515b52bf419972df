import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { IngressInput } from '@livekit/protocol';
import { decodeJwt } from 'jose';
import { afterEach, expect, test } from 'vitest';
import { startIngressHarness, STREAM_KEY, type IngressHarness } from '../../support/ingress-harness.ts';
import { RtmpClient } from '../../support/rtmp-client.ts';
import { sendFrames } from '../../support/rtmp-frames.ts';

let harness: IngressHarness | undefined;

afterEach(() => harness?.close());

/** LiveKit's claims of an ingress participant, valid for a day. */
function expectIngressToken(token: string): void {
  const { video, exp = 0, ...claims } = decodeJwt(token);
  expect(claims).toMatchObject({
    sub: 'obs',
    name: 'OBS',
    metadata: '{"role":"host"}',
    kind: 'ingress',
    attributes: { 'ingress.ingressID': 'IN_test' },
  });
  expect(video).toEqual({
    room: 'studio',
    roomJoin: true,
    canPublish: true,
    canSubscribe: false,
    canUpdateOwnMetadata: true,
  });
  expect(exp - Date.now() / 1000).toBeCloseTo(24 * 3600, -2);
}

test('an RTMP encoder joins as LiveKit’s would, and says who it is', async () => {
  harness = await startIngressHarness({ limits: { refusalDelayMs: 0 } });
  const { room, ingress, states } = harness;
  const client = new RtmpClient(ingress.rtmpPort).publish(STREAM_KEY);
  sendFrames(client, 0);
  await room.until(() => room.packets('video').length > 0);
  expectIngressToken(room.connections[0]?.token ?? '');
  expect(room.connections[0]?.autoSubscribe).toBe(false);
  const { resourceId } = states.at(-1) ?? expect.fail('no state');
  expect(resourceId).toMatch(/^RT_/);
  expect(room.attributes['ingress.resourceID']).toBe(resourceId);
  client.close();
});

test('a WHIP encoder joins with the same rights, its resource in the token', async () => {
  let authorization = '';
  const server = createServer((request, response) => {
    authorization = request.headers.authorization ?? '';
    response.writeHead(406).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  harness = await startIngressHarness({
    info: { inputType: IngressInput.WHIP_INPUT, enableTranscoding: false },
    room: { wsUrl: `ws://127.0.0.1:${port}`, apiKey: 'key', apiSecret: 'secret-of-32-characters-or-more!' },
  });
  await fetch(harness.whipUrl, {
    method: 'POST',
    headers: { 'content-type': 'application/sdp', authorization: `Bearer ${STREAM_KEY}` },
    body: 'v=0\r\n',
  });
  const token = authorization.replace('Bearer ', '');
  expectIngressToken(token);
  const { attributes } = decodeJwt<{ attributes: Record<string, string> }>(token);
  expect(attributes['ingress.resourceID']).toBe(harness.states[0]?.resourceId);
  expect(attributes['ingress.resourceID']).toMatch(/^WH_/);
  server.close();
});
