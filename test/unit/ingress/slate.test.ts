import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { chosenSlate } from '../../../services/ingress/slate/slate-choice.ts';
import { checkSlates, SlateFilms } from '../../../services/ingress/slate/slate-film.ts';
import { createLogger } from '../../../services/base/logger.ts';
import { ffmpeg } from '../../support/ffmpeg-encoder.ts';
import {
  ENDPOINT_BUFFERING,
  ENDPOINT_ERROR,
  ENDPOINT_PUBLISHING,
  startIngressHarness,
  STREAM_KEY,
  type IngressHarness,
} from '../../support/ingress-harness.ts';
import { RtmpClient } from '../../support/rtmp-client.ts';
import { sendFrames } from '../../support/rtmp-frames.ts';

const SETTINGS = { files: { pause: '/slates/pause.png', rain: '/slates/rain.mp4' }, byDefault: 'pause' };

let folder: string;
let harness: IngressHarness | undefined;
const clients: RtmpClient[] = [];

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'sluice-slate-'));
  await ffmpeg(['-f', 'lavfi', '-i', 'color=white:size=400x100', '-frames:v', '1', file('white.png')]);
  await ffmpeg([
    ...['-f', 'lavfi', '-i', 'testsrc2=size=160x90:rate=25', '-t', '0.4', '-pix_fmt', 'yuv420p'],
    ...['-c:v', 'libx264', '-preset', 'ultrafast', file('short.mp4')],
  ]);
});
afterEach(async () => {
  clients.splice(0).forEach((client) => {
    client.close();
  });
  await harness?.close();
  harness = undefined;
});
afterAll(() => rm(folder, { recursive: true, force: true }));

function file(name: string): string {
  return path.join(folder, name);
}

async function connect(): Promise<RtmpClient> {
  const client = new RtmpClient(harness?.ingress.rtmpPort ?? 0).publish(STREAM_KEY);
  clients.push(client);
  await client.status();
  return client;
}

test.each([
  ['', '/slates/pause.png'],
  ['{"role":"host"}', '/slates/pause.png'],
  ['free text about sluice.ingress.slate', '/slates/pause.png'],
  ['{"sluice.ingress.slate":"rain"}', '/slates/rain.mp4'],
  ['{"sluice.ingress.slate":""}', undefined],
])('metadata %j chooses %j', (metadata, chosen) => {
  expect(chosenSlate(metadata, SETTINGS)).toBe(chosen);
});

test.each(['snow', '__proto__', 'constructor'])(
  'slate "%s", which nobody has configured, is refused',
  (name) => {
    expect(() => chosenSlate(JSON.stringify({ 'sluice.ingress.slate': name }), SETTINGS)).toThrow(
      `slate "${name}" is not configured (ingress.slates: pause, rain)`,
    );
  },
);

test('the encoder of an endpoint with an unknown slate is refused, and the state says why', async () => {
  harness = await startIngressHarness({
    slates: { files: {}, byDefault: '' },
    info: { participantMetadata: '{"sluice.ingress.slate":"snow"}' },
    limits: { refusalDelayMs: 0 },
  });
  const client = await connect();
  expect(client.statuses()[0]?.description).toContain('slate "snow" is not configured');
  const failed = await harness.stateThat(({ status }) => status === ENDPOINT_ERROR);
  expect(failed.error).toContain('ingress.slates: none');
});

test('what cannot be a slate is told at the start, or when it is encoded', async () => {
  await expect(checkSlates({ files: { gone: '/nowhere/gone.png' }, byDefault: '' })).rejects.toThrow(
    'ingress.slates.gone: /nowhere/gone.png cannot be read',
  );
  await expect(checkSlates({ files: {}, byDefault: 'gone' })).rejects.toThrow(
    '"gone" is not in ingress.slates',
  );
  const films = new SlateFilms({ ffmpegPath: 'ffmpeg', logger: createLogger({ level: 'silent' }) });
  await expect(films.film('/etc/hostname', { width: 64, height: 64 })).rejects.toThrow('slate /etc/hostname');
});

test('a slate is encoded once for each size of the picture', async () => {
  const films = new SlateFilms({ ffmpegPath: 'ffmpeg', logger: createLogger({ level: 'silent' }) });
  const small = films.film(file('white.png'), { width: 320, height: 180 });
  expect(films.film(file('white.png'), { width: 320, height: 180 })).toBe(small);
  expect(films.film(file('white.png'), { width: 640, height: 360 })).not.toBe(small);
  expect(await small).toMatchObject({ durationMs: 2_000 });
  expect((await small).frames).toHaveLength(10);
  expect((await films.film(file('short.mp4'), { width: 320, height: 180 })).durationMs).toBe(400);
});

test('a clip runs over and over until the encoder is back, which goes on from its key frame', async () => {
  harness = await startIngressHarness({
    policy: { reconnectWindowMs: 10_000 },
    slates: { files: { clip: file('short.mp4') }, byDefault: 'clip' },
    limits: { refusalDelayMs: 0 },
  });
  const { room, states } = harness;
  const first = await connect();
  sendFrames(first, 0);
  await harness.stateThat(({ status }) => status === ENDPOINT_PUBLISHING);
  first.close();
  // Three rounds of ten frames each.
  await room.until(() => room.packets('video').length >= 3 + 30);
  expect(states.at(-1)?.status).toBe(ENDPOINT_BUFFERING);
  const keys = room.packets('video').filter(({ key }) => key);
  expect(keys.length).toBeGreaterThanOrEqual(4);
  const second = await connect();
  const before = room.packets('video').length;
  sendFrames(second, 0);
  await room.until(() => room.packets('video').length >= before + 3);
  await expect.poll(() => states.at(-1)?.status, { timeout: 15_000 }).toBe(ENDPOINT_PUBLISHING);
  const times = room.packets('video').map(({ ptsUs }) => ptsUs);
  expect(times).toEqual([...times].sort((a, b) => a - b));
  expect(times.slice(4, 30).every((time, i) => time - (times[i + 3] ?? 0) === 40_000)).toBe(true);
  expect(room.tracks).toHaveLength(1);
  expect(states.at(-1)?.video).toMatchObject({ width: 642, height: 362 });
});
