import { IngressInfo, IngressInput, type IngressState } from '@livekit/protocol';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { fixtureFile } from '../../fixtures/generate.ts';
import { IngressHandler, RoomInternal } from '../../services/bus/rpc-methods.ts';
import {
  ENDPOINT_BUFFERING,
  ENDPOINT_ERROR,
  ENDPOINT_INACTIVE,
  ENDPOINT_PUBLISHING,
  STREAM_KEY,
} from '../support/ingress-harness.ts';
import { ObsLikeEncoder } from '../support/obs-like-encoder.ts';
import { disposeRtcNode } from '../support/rtc-node-viewer.ts';
import { FfmpegWhipPublisher, WHIP_360P } from '../support/whip-ffmpeg.ts';
import { AUDIO, offerOf, VIDEO } from '../support/whip-offers.ts';
import { startWhipStage, type WhipStage } from '../support/whip-stage.ts';

const OTHER_KEYS = {
  other: 'theKeyOfTheOtherEndpoint',
  absent: 'theKeyOfWhoNeverConnects',
  silent: 'theKeyOfWhoLeavesWithoutAWord',
};
const OTHER_KEY = OTHER_KEYS.other;

let file: string;
let stage: WhipStage;
const publishers: FfmpegWhipPublisher[] = [];
const encoders: ObsLikeEncoder[] = [];

beforeAll(async () => {
  file = await fixtureFile(WHIP_360P);
});
beforeEach(async () => {
  stage = await startWhipStage();
  for (const [name, streamKey] of Object.entries(OTHER_KEYS)) {
    await stage.harness.store.put(
      new IngressInfo({
        ingressId: `IN_${name}`,
        streamKey,
        inputType: IngressInput.WHIP_INPUT,
        roomName: 'studio',
        participantIdentity: name,
        enabled: true,
        reusable: true,
      }),
    );
  }
});
afterEach(async () => {
  for (const publisher of publishers.splice(0)) {
    publisher.kill('SIGKILL');
    await publisher.exited;
  }
  for (const encoder of encoders.splice(0)) {
    encoder.drop();
  }
  await stage.close();
});
afterAll(async () => {
  await disposeRtcNode();
});

async function ffmpeg(bearer = STREAM_KEY): Promise<FfmpegWhipPublisher> {
  const publisher = new FfmpegWhipPublisher({ url: stage.harness.whipUrl, bearer, file });
  publishers.push(publisher);
  await publisher.connected;
  return publisher;
}

async function obs(bearer = STREAM_KEY): Promise<ObsLikeEncoder> {
  const layers = [{ width: 320, height: 180, bitrateKbps: 300 }];
  const encoder = await ObsLikeEncoder.start({ url: stage.harness.whipUrl, bearer, layers });
  encoders.push(encoder);
  return encoder;
}

const postOffer = (bearer: string): Promise<Response> =>
  fetch(stage.harness.whipUrl, {
    method: 'POST',
    headers: { 'content-type': 'application/sdp', authorization: `Bearer ${bearer}` },
    body: offerOf([AUDIO, VIDEO]),
  });

const isPublishing = ({ status }: IngressState): boolean => status === ENDPOINT_PUBLISHING;

test('states follow the session: buffering, publishing with what is sent, inactive', async () => {
  const encoder = await obs();
  const publishing = await stage.harness.stateThat(
    (state) => isPublishing(state) && (state.video?.averageBitrate ?? 0) > 0,
  );
  expect(publishing.roomId).toMatch(/^RM_/);
  expect(publishing.resourceId).toMatch(/^WH_/);
  expect(publishing.video).toMatchObject({ mimeType: 'video/H264', width: 320, height: 180 });
  await encoder.stop();
  const final = await stage.harness.stateThat(({ status }) => status === ENDPOINT_INACTIVE);
  expect(final).toMatchObject({ error: '', resourceId: publishing.resourceId });
  expect(final.endedAt).toBeGreaterThan(final.startedAt);
  const order = stage.harness.states.map(({ status }) => status);
  expect(order.filter((status, i) => status !== order[i - 1])).toEqual([
    ENDPOINT_BUFFERING,
    ENDPOINT_PUBLISHING,
    ENDPOINT_INACTIVE,
  ]);
  const times = stage.harness.states.map(({ updatedAt }) => Number(updatedAt / 1_000_000n));
  expect(Math.max(...times.slice(1).map((time, i) => time - (times[i] ?? 0)))).toBeLessThan(10_000);
});

test('encoders that are killed, leave without DELETE or never connect end in bounded time; the other goes on', async () => {
  const viewer = await stage.viewer();
  expect((await postOffer(OTHER_KEYS.absent)).status).toBe(201);
  const killed = await ffmpeg();
  const silent = await obs(OTHER_KEYS.silent);
  await stage.harness.stateThat(isPublishing);
  await viewer.until(() => viewer.participant('silent') !== undefined);
  killed.kill('SIGKILL');
  // libdatachannel closes without a DTLS alert: what ends the session is its consent (RFC 7675).
  silent.drop();
  await obs(OTHER_KEY);
  const otherFrames = (): number => viewer.frames.filter(({ width }) => width === 320).length;
  await viewer.until(() => otherFrames() > 30);

  const final = await stage.harness.stateThat(({ status }) => status === ENDPOINT_INACTIVE);
  expect(final.error).toBe('');
  const failed = await stage.harness.stateThat(({ status }) => status === ENDPOINT_ERROR);
  expect(failed.error).toContain('no connectivity check arrived');
  await expect
    .poll(() => stage.harness.ingress.activeIngressIds(), { timeout: 15_000 })
    .toEqual(['IN_other']);
  const before = otherFrames();
  await viewer.until(() => otherFrames() > before + 30);
  expect(viewer.participant('obs')).toBeUndefined();
  expect(viewer.participant('silent')).toBeUndefined();
}, 240_000);

test('a second encoder on the same key is refused while the first one sends', async () => {
  const viewer = await stage.viewer();
  await obs();
  await stage.harness.stateThat(isPublishing);
  const second = await postOffer(STREAM_KEY);
  expect(second.status).toBe(409);
  expect(await second.text()).toContain('another encoder is already publishing');
  const before = viewer.frames.length;
  await viewer.until(() => viewer.frames.length > before + 30);
});

test('an encoder that crashed and comes back takes its place at once', async () => {
  const crashed = await ffmpeg();
  await stage.harness.stateThat(isPublishing);
  crashed.kill('SIGKILL');
  await crashed.exited;
  await expect
    .poll(async () => (await obs().catch(() => undefined)) !== undefined, { timeout: 30_000, interval: 500 })
    .toBe(true);
  await stage.harness.stateThat((state) => isPublishing(state) && state.video?.width === 320);
});

test.each(['update', 'delete'] as const)(
  '%s of the endpoint ends the session, and only this one',
  async (what) => {
    const viewer = await stage.viewer();
    await obs();
    await obs(OTHER_KEY);
    await viewer.until(
      () => viewer.participant('obs') !== undefined && viewer.participant('other') !== undefined,
    );
    const { bus } = stage.sfu;
    const request = { ingressId: 'IN_test', ...(what === 'update' ? { participantIdentity: 'new' } : {}) };
    const options = { topic: 'IN_test' };
    const state = await (what === 'update'
      ? bus.request(IngressHandler.updateIngress, request, options)
      : bus.request(IngressHandler.deleteIngress, request, options));
    expect(state.status).toBe(ENDPOINT_INACTIVE);
    await expect.poll(() => viewer.participant('obs'), { timeout: 15_000 }).toBeUndefined();
    expect(stage.harness.ingress.activeIngressIds()).toEqual(['IN_other']);
    const before = viewer.frames.length;
    await viewer.until(() => viewer.frames.length > before + 30);
  },
);

test('an update of the names alone reaches the room, and the encoder goes on', async () => {
  const viewer = await stage.viewer();
  await obs();
  await viewer.until(() => viewer.participant('obs') !== undefined);
  const request = { ingressId: 'IN_test', participantName: 'Studio 2', participantMetadata: '{"a":1}' };
  const { bus } = stage.sfu;
  const state = await bus.request(IngressHandler.updateIngress, request, { topic: 'IN_test' });
  expect(state.status).not.toBe(ENDPOINT_INACTIVE);
  await expect.poll(() => viewer.participant('obs')?.name, { timeout: 15_000 }).toBe('Studio 2');
  expect(viewer.participant('obs')?.metadata).toBe('{"a":1}');
  const before = viewer.frames.length;
  await viewer.until(() => viewer.frames.length > before + 30);
});

test('removal from the room ends the session and says so, to the encoder too', async () => {
  const encoder = await obs();
  let isTold = false;
  void encoder.ended.then(() => (isTold = true));
  await stage.harness.stateThat(isPublishing);
  await stage.sfu.bus.request(RoomInternal.removeParticipant, { room: 'studio', identity: 'obs' });
  const failed = await stage.harness.stateThat(({ status }) => status === ENDPOINT_ERROR);
  expect(failed.error).toBe('room disconnected');
  // By DTLS; that nobody answers its checks any more would dawn on it half a minute later.
  await expect.poll(() => isTold, { timeout: 15_000 }).toBe(true);
  await expect.poll(() => stage.harness.ingress.activeIngressIds(), { timeout: 15_000 }).toEqual([]);
});

test('the end of the ingress service ends its sessions', async () => {
  await obs();
  await stage.harness.stateThat(isPublishing);
  await stage.harness.ingress.close('shutdown');
  const { participants } = await stage.sfu.bus.request(RoomInternal.listParticipants, { room: 'studio' });
  expect(participants).toEqual([]);
  expect(stage.harness.states.at(-1)?.status).toBe(ENDPOINT_INACTIVE);
});
