import { afterEach, expect, test, vi } from 'vitest';
import { pino } from 'pino';
import { ServiceError } from '../../../services/base/errors.ts';
import { createMetrics } from '../../../services/base/metrics/metrics.ts';
import { redactValue } from '../../../services/base/redact.ts';
import type { Logger } from '../../../services/base/logger.ts';
import type { Bus } from '../../../services/bus/bus.ts';
import { observePacketLatency } from '../../../services/cli/service-metrics.ts';
import { IngressHandler } from '../../../services/bus/rpc-methods.ts';
import { buildAvcConfig } from '../../../services/media/codecs/h264-avcc.ts';
import { joinLengthPrefixed } from '../../../services/media/codecs/h264.ts';
import { flvVideoBody } from '../../../services/protocol/flv.ts';
import {
  ENDPOINT_BUFFERING,
  ENDPOINT_ERROR,
  ENDPOINT_INACTIVE,
  ENDPOINT_PUBLISHING,
  startIngressHarness,
  STREAM_KEY,
  type IngressHarness,
  type IngressHarnessOptions,
} from '../../support/ingress-harness.ts';
import { SPS } from '../../support/h264-samples.ts';
import { RtmpClient } from '../../support/rtmp-client.ts';

const REQUEST = { ingressId: 'IN_test' };
const TOPIC = { topic: 'IN_test' };
const PPS = Uint8Array.of(0x68, 0xce, 0x3c, 0x80);
const CONFIG = Buffer.concat(
  flvVideoBody({ packet: 'config', data: Buffer.from(buildAvcConfig([SPS.baseline], [PPS])) }),
);
const KEY_FRAME = Buffer.concat(
  flvVideoBody({
    packet: 'frame',
    key: true,
    compositionMs: 0,
    data: joinLengthPrefixed([Uint8Array.of(0x65, 0x88, 0x84, 0x21)]),
  }),
);

let harness: IngressHarness | undefined;
const clients: RtmpClient[] = [];

async function start(options: IngressHarnessOptions = {}): Promise<IngressHarness> {
  harness = await startIngressHarness({ ...options, limits: { refusalDelayMs: 0, ...options.limits } });
  return harness;
}

function encoder({ ingress }: IngressHarness, key = STREAM_KEY): RtmpClient {
  const client = new RtmpClient(ingress.rtmpPort).publish(key);
  clients.push(client);
  return client;
}

afterEach(async () => {
  vi.useRealTimers();
  clients.splice(0).forEach((client) => {
    client.close();
  });
  await harness?.close();
  harness = undefined;
});

test('how late packets leave for the room is counted for each track, under the name LiveKit has for it', async () => {
  const metrics = createMetrics({ nodeId: 'ND_test', processMetrics: false });
  const observe = observePacketLatency(metrics);
  const latenciesUs: number[] = [];
  const running = await start({
    onPacketLatency: (input, track, latencyUs) => {
      latenciesUs.push(latencyUs);
      observe(input, track, latencyUs);
    },
  });
  // The second picture is sent half a second ahead of its time.
  encoder(running).video(0, CONFIG).video(0, KEY_FRAME).video(500, KEY_FRAME);
  await expect.poll(() => latenciesUs.length, { timeout: 15_000 }).toBe(2);
  expect(latenciesUs[1]).toBeLessThan((latenciesUs[0] ?? 0) - 300_000);
  observe('rtmp', 'video', 79_000);
  const { text } = await metrics.render();
  const series = text.split('\n').filter((line) => line.startsWith('livekit_ingress_packet_latency_seconds'));
  const ours = series.filter((line) => /[{,]track="video",ingress_type="rtmp"/.test(line));
  expect(ours.find((line) => line.includes('_count{'))).toMatch(/ 3$/);
  const limits = ours.flatMap((line) => /le="([^"]+)"/.exec(line)?.[1] ?? []);
  expect(limits.slice(0, 3)).toEqual(['0.005', '0.01', '0.02']);
  expect(limits.slice(11)).toEqual(['10.24', '+Inf']);
});

test('PUBLISHING comes only when the room has the track, and nothing of the wait is lost', async () => {
  const running = await start();
  const { room, stateThat, states } = running;
  let open: () => void = () => undefined;
  room.gate = new Promise((resolve) => {
    open = resolve;
  });
  const client = encoder(running).video(0, CONFIG).video(0, KEY_FRAME).video(33, KEY_FRAME);
  await client.status();
  await stateThat(({ status }) => status === ENDPOINT_BUFFERING);
  await room.until(() => room.connections.length === 1);
  expect(states.some(({ status }) => status === ENDPOINT_PUBLISHING)).toBe(false);
  open();
  const state = await stateThat(({ status }) => status === ENDPOINT_PUBLISHING);
  expect(state.roomId).toBe('RM_fake');
  expect(state.updatedAt).toBeGreaterThanOrEqual(state.startedAt);
  expect(room.packets('video').length).toBeGreaterThan(0);
});

test.each([
  [
    'updated',
    (bus: Bus) =>
      bus.request(IngressHandler.updateIngress, { ...REQUEST, participantIdentity: 'other' }, TOPIC),
  ],
  ['deleted', (bus: Bus) => bus.request(IngressHandler.deleteIngress, REQUEST, TOPIC)],
])('an endpoint that is %s drops its encoder and answers with the final state', async (what, call) => {
  const running = await start();
  const client = encoder(running).video(0, CONFIG).video(0, KEY_FRAME);
  await running.stateThat(({ status }) => status === ENDPOINT_PUBLISHING);
  const state = await call(running.bus);
  expect(state.status).toBe(ENDPOINT_INACTIVE);
  expect((await running.store.get('IN_test'))?.state?.status).toBe(ENDPOINT_INACTIVE);
  await client.closed;
  expect(client.statuses().at(-1)?.description).toBe(`ingress ${what}`);
  await expect(call(running.bus)).rejects.toThrow('no response from servers');
});

test('an endpoint whose names alone change keeps its encoder, and the room hears of them', async () => {
  const running = await start();
  const client = encoder(running).video(0, CONFIG).video(0, KEY_FRAME);
  await running.stateThat(({ status }) => status === ENDPOINT_PUBLISHING);
  const state = await running.bus.request(
    IngressHandler.updateIngress,
    { ...REQUEST, name: 'desk', participantName: 'Studio 2', participantMetadata: '{"role":"guest"}' },
    TOPIC,
  );
  expect(state.status).toBe(ENDPOINT_PUBLISHING);
  expect(running.room.profiles).toEqual([{ name: 'Studio 2', metadata: '{"role":"guest"}' }]);
  client.video(33, KEY_FRAME);
  await running.room.until(() => running.room.packets('video').length >= 2);
  expect(running.room.left).toEqual([]);
});

test('the state is refreshed every 5 s with what the encoder sends', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  const running = await start();
  const client = encoder(running).video(0, CONFIG).video(0, KEY_FRAME);
  const first = await running.stateThat(({ status }) => status === ENDPOINT_PUBLISHING);
  for (let second = 1; second <= 6; second++) {
    client.video(second * 1_000, KEY_FRAME);
    await running.room.until(() => running.room.packets('video').length > second);
    await vi.advanceTimersByTimeAsync(1_000);
  }
  const fresh = running.states.filter(({ updatedAt }) => updatedAt > first.updatedAt);
  expect(fresh.length).toBeGreaterThanOrEqual(2);
  expect(fresh.at(-1)).toMatchObject({ status: ENDPOINT_PUBLISHING, video: { width: 642, height: 362 } });
  expect(fresh.at(-1)?.video?.averageBitrate).toBeGreaterThan(0);
});

test('an encoder that never sends anything to publish is given up after a minute, in LiveKit’s words', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  const running = await start({ limits: { mediaTimeoutMs: 1_000_000 } });
  const client = encoder(running).video(0, CONFIG);
  await running.stateThat(({ status }) => status === ENDPOINT_BUFFERING);
  await vi.advanceTimersByTimeAsync(59_000);
  expect(running.states.at(-1)?.status).toBe(ENDPOINT_BUFFERING);
  await vi.advanceTimersByTimeAsync(2_000);
  const state = await running.stateThat(({ status }) => status === ENDPOINT_ERROR);
  expect(state.error).toBe('source encoder not ready: nothing to publish for 60 s');
  await client.closed;
});

test('a room that cannot be joined is an ERROR that the encoder hears too', async () => {
  const running = await start();
  running.room.joinError = new ServiceError('unavailable', 'no SFU at ws://127.0.0.1:1');
  const client = encoder(running);
  const state = await running.stateThat(({ status }) => status === ENDPOINT_ERROR);
  expect(state.error).toBe('no SFU at ws://127.0.0.1:1');
  await client.closed;
  expect(client.statuses().at(-1)).toMatchObject({ level: 'error', description: state.error });
});

test('an endpoint without a room refuses before anything starts', async () => {
  const running = await start({ info: { roomName: '' } });
  const client = encoder(running);
  expect((await client.status()).description).toBe('invalid ingress: no room name');
  expect(running.states).toMatchObject([{ status: ENDPOINT_ERROR, error: 'invalid ingress: no room name' }]);
  expect(running.ingress.activeIngressIds()).toEqual([]);
});

test('media that lies ends its session with the cause, not the service', async () => {
  const running = await start();
  const client = encoder(running)
    .video(0, CONFIG)
    .video(0, Buffer.from([0x17, 1, 0, 0, 0, 0, 0, 9, 9, 1]));
  const state = await running.stateThat(({ status }) => status === ENDPOINT_ERROR);
  expect(state.error).toContain('longer than');
  await client.closed;
  const next = encoder(running);
  expect((await next.status()).code).toBe('NetStream.Publish.Start');
});

test('when keys cannot be checked nobody gets in, and nothing is said about the key', async () => {
  const running = await start();
  const getByStreamKey = running.store.getByStreamKey.bind(running.store);
  running.store.getByStreamKey = () => Promise.reject(new Error('store is down'));
  const client = encoder(running);
  expect((await client.status()).description).toBe('stream keys cannot be checked right now; try again');
  running.store.getByStreamKey = getByStreamKey;
  expect((await encoder(running).status()).code).toBe('NetStream.Publish.Start');
});

test('closing the service ends sessions as INACTIVE and leaves the room', async () => {
  const running = await start();
  const client = encoder(running).video(0, CONFIG).video(0, KEY_FRAME);
  await running.stateThat(({ status }) => status === ENDPOINT_PUBLISHING);
  await running.ingress.close('server shutting down');
  await client.closed;
  expect(running.states.at(-1)).toMatchObject({ status: ENDPOINT_INACTIVE, error: '' });
  expect(running.room.left).toEqual(['server shutting down']);
});

test('stream keys, right or wrong, never reach the log', async () => {
  const lines: string[] = [];
  const logger = pino(
    { level: 'debug', formatters: { log: (fields) => redactValue(fields) as Record<string, unknown> } },
    { write: (line: string) => lines.push(line) },
  ) as Logger;
  const running = await start({ logger });
  const wrong = `${STREAM_KEY}x\r\n{"level":"error"}`;
  await encoder(running, wrong).closed;
  const good = encoder(running).video(0, CONFIG).video(0, KEY_FRAME);
  await running.stateThat(({ status }) => status === ENDPOINT_PUBLISHING);
  await encoder(running).closed;
  good.command('publish', null, STREAM_KEY);
  await running.stateThat(({ status }) => status === ENDPOINT_ERROR);
  expect(lines.length).toBeGreaterThan(3);
  expect(lines.join('')).not.toContain(STREAM_KEY);
});
