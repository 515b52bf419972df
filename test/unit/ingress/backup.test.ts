import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, expect, test } from 'vitest';
import { createLogger } from '../../../services/base/logger.ts';
import { BackupEncoders } from '../../../services/ingress/backup-encoders.ts';
import type { MediaSink } from '../../../services/ingress/servers/publisher-types.ts';
import {
  ENDPOINT_BUFFERING,
  ENDPOINT_INACTIVE,
  ENDPOINT_PUBLISHING,
  startIngressHarness,
  STREAM_KEY,
  type IngressHarness,
} from '../../support/ingress-harness.ts';
import { RtmpClient } from '../../support/rtmp-client.ts';
import { AVC_CONFIG, DELTA_FRAME, KEY_FRAME, sendFrames } from '../../support/rtmp-frames.ts';

let harness: IngressHarness | undefined;
const clients: RtmpClient[] = [];
const feeds: NodeJS.Timeout[] = [];

afterEach(async () => {
  feeds.splice(0).forEach((feed) => {
    clearInterval(feed);
  });
  clients.splice(0).forEach((client) => {
    client.close();
  });
  await harness?.close();
  harness = undefined;
});

async function start(reconnectWindowMs = 10_000): Promise<IngressHarness> {
  const policy = { duplicateKey: 'backup', reconnectWindowMs } as const;
  harness = await startIngressHarness({ policy, limits: { refusalDelayMs: 0 } });
  return harness;
}

async function connect(): Promise<RtmpClient> {
  const client = new RtmpClient(harness?.ingress.rtmpPort ?? 0).publish(STREAM_KEY);
  clients.push(client);
  await client.status();
  return client;
}

/** Delta frames at 30 fps for ever. */
function feed(client: RtmpClient, fromMs: number): () => void {
  let timestampMs = fromMs;
  const timer = setInterval(() => {
    timestampMs += 33;
    client.video(timestampMs, DELTA_FRAME);
  }, 33);
  feeds.push(timer);
  return () => {
    clearInterval(timer);
  };
}

/** Both encoders run for half a second; only the first one is heard. */
async function startBoth(): Promise<{ first: RtmpClient; second: RtmpClient; stopFirst: () => void }> {
  const running = await start();
  const first = await connect();
  sendFrames(first, 0, 1);
  const stopFirst = feed(first, 0);
  await running.stateThat(({ status }) => status === ENDPOINT_PUBLISHING);
  const second = await connect();
  expect(second.statuses()[0]).toMatchObject({ code: 'NetStream.Publish.Start' });
  sendFrames(second, 7_000_000, 1);
  feed(second, 7_000_000);
  const before = running.room.packets('video').length;
  await running.room.until(() => running.room.packets('video').length >= before + 15);
  expect(running.room.packets('video').filter(({ key }) => key)).toHaveLength(1);
  return { first, second, stopFirst };
}

function expectOneParticipantInOrder(): void {
  const { room, states } = harness ?? expect.fail('not started');
  const times = room.packets('video').map(({ ptsUs }) => ptsUs);
  expect(times).toEqual([...times].sort((a, b) => a - b));
  expect(room.connections).toHaveLength(1);
  expect(room.tracks).toHaveLength(1);
  expect(room.left).toEqual([]);
  // Nobody who looks at the endpoint sees it either.
  const since = states.findIndex(({ status }) => status === ENDPOINT_PUBLISHING);
  expect(new Set(states.slice(since).map(({ status }) => status))).toEqual(new Set([ENDPOINT_PUBLISHING]));
}

test.each([
  ['is cut off', (first: RtmpClient) => first.close()],
  ['says goodbye', (first: RtmpClient) => first.command('deleteStream', null, 1)],
  ['breaks the protocol', (first: RtmpClient) => first.raw(Buffer.alloc(5_000, 0xff))],
])('the backup goes on at its last key frame when the first encoder %s', async (_case, end) => {
  const { first } = await startBoth();
  const { room } = harness ?? expect.fail('not started');
  const before = room.packets('video').length;
  const lastUs = room.packets('video').at(-1)?.ptsUs ?? 0;
  end(first);
  await room.until(() => room.packets('video').length >= before + 20);
  const after = room.packets('video').slice(before);
  const takeOver = after.findIndex(({ key }) => key);
  // At once, from the key frame on that came half a second ago; its time is squeezed behind the last one.
  expect(takeOver).toBeGreaterThanOrEqual(0);
  expect(takeOver).toBeLessThanOrEqual(10);
  expect((after[takeOver]?.ptsUs ?? 0) - lastUs).toBeLessThan(500_000);
  // It has caught up: no later than its own frames come.
  expect((room.packets('video').at(-1)?.ptsUs ?? 0) - lastUs).toBeLessThan(2_000_000);
  expectOneParticipantInOrder();
});

test('the backup takes over from an encoder that stalls, which stands by from then on', async () => {
  const { first, second, stopFirst } = await startBoth();
  const { room } = harness ?? expect.fail('not started');
  const keys = (): number => room.packets('video').filter(({ key }) => key).length;
  stopFirst();
  await room.until(() => keys() === 2);
  // The first comes to life again: it is not heard …
  sendFrames(first, 9_000, 1);
  feed(first, 9_000);
  const before = room.packets('video').length;
  await room.until(() => room.packets('video').length >= before + 10);
  expect(keys()).toBe(2);
  // … until it is needed.
  second.close();
  await room.until(() => keys() === 3);
  expectOneParticipantInOrder();
});

test('an encoder that sends rarely is not taken for stalled', async () => {
  const running = await start();
  const { room } = running;
  const first = await connect();
  first.video(0, AVC_CONFIG);
  const second = await connect();
  sendFrames(second, 0, 1);
  feed(second, 0);
  // Time is what this is about: half a second between two frames is this encoder's habit.
  for (let index = 0; index < 8; index += 1) {
    first.video(index * 500, KEY_FRAME);
    await delay(500);
  }
  const packets = room.packets('video').slice(-4);
  expect(packets.every(({ key }) => key)).toBe(true);
});

test('a third encoder is refused, and a backup that leaves makes room for it', async () => {
  const { second } = await startBoth();
  const third = await connect();
  expect(third.statuses()[0]).toMatchObject({
    code: 'NetStream.Publish.BadName',
    description: 'an encoder and its backup are already publishing with this stream key',
  });
  second.close();
  await expect
    .poll(async () => (await connect()).statuses()[0]?.code, { timeout: 15_000 })
    .toBe('NetStream.Publish.Start');
});

test('a backup that sends what no room takes is told so, and disturbs nobody', async () => {
  const running = await start();
  const first = await connect();
  sendFrames(first, 0);
  feed(first, 100);
  const second = await connect();
  second.video(0, Buffer.from([0x12, 0, 0, 0, 0, 0])); // Sorenson H.263
  await second.closed;
  expect(second.statuses().at(-1)?.description).toContain('Sorenson H.263');
  const before = running.room.packets('video').length;
  await running.room.until(() => running.room.packets('video').length > before);
});

test('when both are gone the window opens, and whoever comes back first is heard', async () => {
  const { first, second } = await startBoth();
  const { room, states } = harness ?? expect.fail('not started');
  second.close();
  first.close();
  await expect.poll(() => states.at(-1)?.status, { timeout: 15_000 }).toBe(ENDPOINT_BUFFERING);
  const third = await connect();
  const before = room.packets('video').length;
  sendFrames(third, 0);
  await room.until(() => room.packets('video').length === before + 3);
  await expect.poll(() => states.at(-1)?.status, { timeout: 15_000 }).toBe(ENDPOINT_PUBLISHING);
  expect(room.connections).toHaveLength(1);
});

test('deleting the endpoint hangs up on both', async () => {
  const { first, second } = await startBoth();
  const { ingress, states } = harness ?? expect.fail('not started');
  await ingress.close('server shutting down');
  await Promise.all([first.closed, second.closed]);
  expect(states.at(-1)?.status).toBe(ENDPOINT_INACTIVE);
});

test('what a reader tells beside the media reaches the session from the encoder that is heard, and only from it', () => {
  const heard: unknown[] = [];
  const session: MediaSink = {
    metadata: () => undefined,
    outOfNetwork: (eventId) => heard.push(['splice', eventId]),
    audio: (timestampMs, _body, arrivalUs) => heard.push(['audio', timestampMs, arrivalUs]),
    video: (timestampMs, _body, arrivalUs) => heard.push(['video', timestampMs, arrivalUs]),
    end: () => undefined,
  };
  const backup = new BackupEncoders({
    logger: createLogger({ level: 'silent' }),
    resume: () => session,
  });
  const [first, second] = [1, 2].map(() => backup.join({ drop: () => undefined }));
  first?.outOfNetwork?.('7');
  second?.outOfNetwork?.('8');
  first?.video(40, AVC_CONFIG, 123_000);
  expect(heard).toEqual([
    ['splice', '7'],
    ['video', 40, 123_000],
  ]);
});

test('an encoder that sends in bursts is not taken for stalled', async () => {
  const { room } = await start();
  const first = await connect();
  sendFrames(first, 0, 1);
  const second = await connect();
  sendFrames(second, 7_000_000, 1);
  feed(second, 7_000_000);
  // As above; many messages at once are no sign that the pauses between them are over.
  for (let burst = 0; burst < 8; burst += 1) {
    for (let index = 0; index < 40; index += 1) {
      first.video(400 * burst + 10 * (index + 1), DELTA_FRAME);
    }
    await delay(400);
  }
  await room.until(() => room.packets('video').length > 8 * 40);
  expect(room.packets('video').filter(({ key }) => key)).toHaveLength(1);
});
