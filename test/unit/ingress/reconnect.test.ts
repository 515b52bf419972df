import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, expect, test } from 'vitest';
import {
  ENDPOINT_BUFFERING,
  ENDPOINT_INACTIVE,
  ENDPOINT_PUBLISHING,
  startIngressHarness,
  STREAM_KEY,
  type IngressHarness,
  type IngressHarnessOptions,
} from '../../support/ingress-harness.ts';
import { RtmpClient } from '../../support/rtmp-client.ts';
import { AVC_CONFIG, DELTA_FRAME, KEY_FRAME, sendFrames } from '../../support/rtmp-frames.ts';
import { startWebhookSink } from '../../support/webhook-receiver.ts';
import { webhooksTo } from '../../support/webhooks.ts';

let harness: IngressHarness | undefined;
const clients: RtmpClient[] = [];

afterEach(async () => {
  clients.splice(0).forEach((client) => {
    client.close();
  });
  await harness?.close();
  harness = undefined;
});

async function start(policy: NonNullable<IngressHarnessOptions['policy']>): Promise<IngressHarness> {
  harness = await startIngressHarness({ policy, limits: { refusalDelayMs: 0 } });
  return harness;
}

async function connect({ ingress }: IngressHarness): Promise<RtmpClient> {
  const client = new RtmpClient(ingress.rtmpPort).publish(STREAM_KEY);
  clients.push(client);
  await client.status();
  return client;
}

test('an encoder that is cut off and comes back keeps participant, tracks and time', async () => {
  const running = await start({ reconnectWindowMs: 10_000 });
  const { room, states } = running;
  const first = await connect(running);
  sendFrames(first, 0);
  await running.stateThat(({ status }) => status === ENDPOINT_PUBLISHING);
  await room.until(() => room.packets('video').length === 3);
  first.close();
  await expect.poll(() => states.at(-1)?.status, { timeout: 15_000 }).toBe(ENDPOINT_BUFFERING);
  expect(states.at(-1)?.endedAt).toBe(0n);

  const second = await connect(running);
  // In the middle of a group of pictures: nobody could decode that.
  second.video(0, AVC_CONFIG).video(0, DELTA_FRAME);
  sendFrames(second, 100);
  await room.until(() => room.packets('video').length === 6);
  const packets = room.packets('video');
  expect(packets[3]?.key).toBe(true);
  const times = packets.map(({ ptsUs }) => ptsUs);
  expect(times).toEqual([...times].sort((a, b) => a - b));
  expect(room.connections).toHaveLength(1);
  expect(room.tracks).toHaveLength(1);
  expect(room.left).toEqual([]);
  await expect.poll(() => states.at(-1)?.status, { timeout: 15_000 }).toBe(ENDPOINT_PUBLISHING);
  expect(new Set(states.map(({ resourceId }) => resourceId)).size).toBe(1);
  expect(states.some(({ status }) => status === ENDPOINT_INACTIVE)).toBe(false);
});

test('webhooks tell of one session, however often its encoder is cut off and comes back', async () => {
  const sink = await startWebhookSink('key', 'a-secret-that-is-long-enough-for-hs256');
  const webhooks = webhooksTo(sink.url, 'key', 'a-secret-that-is-long-enough-for-hs256');
  harness = await startIngressHarness({
    ...{ webhooks, policy: { reconnectWindowMs: 10_000 }, limits: { refusalDelayMs: 0 } },
  });
  const { room, states } = harness;
  for (let round = 1; round <= 3; round += 1) {
    const client = await connect(harness);
    sendFrames(client, 0);
    await room.until(() => room.packets('video').length === round * 3);
    await expect.poll(() => states.at(-1)?.status, { timeout: 15_000 }).toBe(ENDPOINT_PUBLISHING);
    client.close();
    await expect.poll(() => states.at(-1)?.status, { timeout: 15_000 }).toBe(ENDPOINT_BUFFERING);
  }
  await harness.ingress.close('server shutting down');
  await sink.event(({ event }) => event === 'ingress_ended');
  expect(sink.received.map(({ event }) => event.event)).toEqual(['ingress_started', 'ingress_ended']);
  await webhooks.close(1_000);
  await sink.close();
});

test('an encoder that does not come back in time ends the session then', async () => {
  const running = await start({ reconnectWindowMs: 100 });
  const client = await connect(running);
  sendFrames(client, 0);
  await running.stateThat(({ status }) => status === ENDPOINT_PUBLISHING);
  client.close();
  const final = await running.stateThat(({ status }) => status === ENDPOINT_INACTIVE);
  expect(final.error).toBe('');
  await expect.poll(() => running.ingress.activeIngressIds(), { timeout: 15_000 }).toEqual([]);
  expect(running.room.left).toEqual(['encoder disconnected']);
  const again = await connect(running);
  sendFrames(again, 0);
  await running.room.until(() => running.room.connections.length === 2);
});

test.each(['FCUnpublish', 'deleteStream'])('%s ends the session at once', async (command) => {
  const running = await start({ reconnectWindowMs: 60_000 });
  const client = await connect(running);
  sendFrames(client, 0);
  await running.stateThat(({ status }) => status === ENDPOINT_PUBLISHING);
  client.command(command, null, 'live');
  await running.stateThat(({ status }) => status === ENDPOINT_INACTIVE);
  expect(running.room.left).toEqual(['encoder stopped the stream']);
});

test('closing the service does not wait for encoders that are away', async () => {
  const running = await start({ reconnectWindowMs: 60_000 });
  const client = await connect(running);
  sendFrames(client, 0);
  await running.stateThat(({ status }) => status === ENDPOINT_PUBLISHING);
  client.close();
  await expect.poll(() => running.states.at(-1)?.status, { timeout: 15_000 }).toBe(ENDPOINT_BUFFERING);
  await running.ingress.close('server shutting down');
  expect(running.states.at(-1)?.status).toBe(ENDPOINT_INACTIVE);
});

test('draining lets go of an encoder that is cut off: it comes back to another node', async () => {
  const running = await start({ reconnectWindowMs: 60_000 });
  const client = await connect(running);
  sendFrames(client, 0);
  await running.stateThat(({ status }) => status === ENDPOINT_PUBLISHING);
  const drained = running.ingress.drain();
  client.close();
  await drained;
  expect(running.states.at(-1)?.status).toBe(ENDPOINT_INACTIVE);
});

test('a second encoder is refused while the first sends, by default', async () => {
  const running = await start({ reconnectWindowMs: 10_000 });
  sendFrames(await connect(running), 0);
  const second = await connect(running);
  expect(second.statuses()[0]).toMatchObject({ code: 'NetStream.Publish.BadName' });
  expect(running.room.connections).toHaveLength(1);
});

test('with duplicate_key "replace" it takes the place of the first, and nobody in the room sees a change', async () => {
  const running = await start({ duplicateKey: 'replace' });
  const { room } = running;
  const first = await connect(running);
  sendFrames(first, 500_000);
  await room.until(() => room.packets('video').length === 3);
  const second = await connect(running);
  await first.closed;
  expect(first.statuses().at(-1)?.description).toBe('another encoder took over this stream key');
  sendFrames(second, 0);
  await room.until(() => room.packets('video').length === 6);
  const times = room.packets('video').map(({ ptsUs }) => ptsUs);
  expect(times).toEqual([...times].sort((a, b) => a - b));
  expect(room.connections).toHaveLength(1);
  expect(room.left).toEqual([]);
  expect(running.states.some(({ status }) => status === ENDPOINT_INACTIVE)).toBe(false);
});

test('key frames more than 4 s apart are told in the state and the participant, until the encoder comes back', async () => {
  const running = await start({ reconnectWindowMs: 60_000 });
  const { room } = running;
  const client = await connect(running);
  client.video(0, AVC_CONFIG).video(0, KEY_FRAME);
  await running.stateThat(({ status }) => status === ENDPOINT_PUBLISHING);
  for (const second of [2, 4, 10, 16]) {
    client.video(second * 1_000, KEY_FRAME);
  }
  await room.until(() => room.packets('video').length === 5);
  await expect
    .poll(() => room.attributes['sluice.ingress.keyframeInterval'], { timeout: 15_000 })
    .toBe('6 s apart; set the encoder to 2 s, 4 s at most');
  const warned = await running.stateThat(({ error }) => error !== '');
  expect(warned).toMatchObject({
    status: ENDPOINT_PUBLISHING,
    error: 'key frames are 6 s apart; set the encoder to 2 s, 4 s at most',
  });
  client.close();
  await expect.poll(() => running.states.at(-1)?.status, { timeout: 15_000 }).toBe(ENDPOINT_BUFFERING);
  sendFrames(await connect(running), 0);
  await expect
    .poll(() => running.states.at(-1), { timeout: 15_000 })
    .toMatchObject({ status: ENDPOINT_PUBLISHING, error: '' });
  expect(room.attributes['sluice.ingress.keyframeInterval']).toBe('');
});

test('an encoder that falls behind and stays behind is live again from a key frame on', async () => {
  const running = await start({ maxLatencyMs: 200 });
  const { room } = running;
  const client = await connect(running);
  client.video(0, AVC_CONFIG).video(0, KEY_FRAME);
  await running.stateThat(({ status }) => status === ENDPOINT_PUBLISHING);
  const before = room.packets('video')[0]?.ptsUs ?? 0;
  // Time is what this is about: its clock says 33 ms a frame, ours a second.
  for (let frame = 1; frame <= 4; frame += 1) {
    await delay(1_000);
    client.video(frame * 33, DELTA_FRAME).video(frame * 33 + 1, KEY_FRAME);
  }
  await room.until(() => room.packets('video').length > 1);
  const [, next] = room.packets('video');
  expect(next?.key).toBe(true);
  expect((next?.ptsUs ?? 0) - before).toBeGreaterThan(2_500_000);
});
