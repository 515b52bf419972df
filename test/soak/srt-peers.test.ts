import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { flashBeepInputs } from '../../fixtures/flash-beep.ts';
import { ffmpeg } from '../support/ffmpeg-encoder.ts';
import { startMatrixStage, type MatrixStage, type Seen } from '../support/matrix-stage.ts';
import { startObs } from '../support/obs-studio.ts';
import { requireSrtPeers, SRT_PEERS, type SrtPeerName } from '../support/srt-peers.ts';

const FPS = 30;
const PICTURE = { width: 640, height: 360, framesPerSecond: FPS };
const MAX_SKEW_MS = 40;
/** Long enough for a slow start and the recording. */
const SECONDS = 40;
const FILMS = {
  baseline: ['-profile:v', 'baseline', '-bf', '0'],
  'B-frames': ['-profile:v', 'main', '-bf', '2'],
} as const;

let folder: string;
let stage: MatrixStage;

beforeAll(async () => {
  requireSrtPeers();
  folder = await mkdtemp(path.join(tmpdir(), 'sluice-srt-peers-'));
  for (const [name, profile] of Object.entries(FILMS)) {
    await ffmpeg([
      ...[...flashBeepInputs({ ...PICTURE, realTime: false }), '-t', String(SECONDS)],
      ...['-c:v', 'libx264', '-preset', 'veryfast', ...profile, '-pix_fmt', 'yuv420p', '-b:v', '800k'],
      ...['-g', String(2 * FPS), '-keyint_min', String(2 * FPS), '-sc_threshold', '0'],
      ...['-c:a', 'aac', '-b:a', '128k', '-ac', '2', film(name)],
    ]);
  }
  stage = await startMatrixStage({ ingress: { srt_port: 0 } });
}, 120_000);

afterAll(async () => {
  await stage.close();
  await rm(folder, { recursive: true, force: true });
});

function film(name: string): string {
  return path.join(folder, `${name}.flv`);
}

function expectWhole(seen: Seen, treatment: string): void {
  console.info(`${expect.getState().currentTestName ?? ''}: ${JSON.stringify(seen)}`);
  expect(seen.treatment).toBe(treatment);
  expect(seen.uniqueFps).toBeGreaterThan(FPS * 0.95);
  expect(seen.reordered).toBe(0);
  expect(seen.skipped).toBeLessThanOrEqual(2);
  expect(Math.min(seen.flashRatio, seen.beepRatio)).toBeGreaterThan(0.75);
  // One that began before the recording is cut short, and its onset late.
  expect(seen.beepStepsS.filter((stepS) => Math.abs(stepS - 1) > 0.11)).toEqual([]);
  expect(Math.abs(seen.skewMs)).toBeLessThanOrEqual(MAX_SKEW_MS);
  expect(seen.webhooks).toEqual(['ingress_started', 'ingress_ended']);
  const walk = seen.statuses.map((status) => status.replace('ENDPOINT_', '')).join(' ');
  expect(walk).toMatch(/^(INACTIVE )?(BUFFERING )?PUBLISHING (BUFFERING )?INACTIVE$/);
}

describe('SRT callers nobody here wrote', () => {
  const streamIds = {
    key: (key: string) => key,
    prefix: (key: string) => `publish:${key}`,
    list: (key: string) => `#!::r=${key},m=publish`,
    'longer list': (key: string) => `#!::h=studio.example.com,r=${key},t=stream,m=publish,s=7`,
  };
  const cells = (Object.keys(SRT_PEERS) as SrtPeerName[]).flatMap(
    (peer): [SrtPeerName, keyof typeof FILMS, keyof typeof streamIds, string][] => [
      [peer, 'baseline', 'key', 'passthrough'],
      [peer, 'B-frames', 'list', 'transcode: B-frames'],
    ],
  );
  test.each([
    ...cells,
    ['ffmpeg', 'baseline', 'prefix', 'passthrough'] as const,
    ['srt-live-transmit', 'baseline', 'longer list', 'passthrough'] as const,
  ])('%s: %s, stream id as %s (%s)', { timeout: 120_000 }, async (peer, name, form, treatment) => {
    const port = await stage.port('srt');
    const seen = await stage.watch((key) =>
      SRT_PEERS[peer](film(name), { port, streamId: streamIds[form](key) }),
    );
    expectWhole(seen, treatment);
  });
});

test('OBS itself, its server an SRT address', { timeout: 180_000 }, async () => {
  const port = await stage.port('srt');
  const seen = await stage.watch((key) =>
    startObs({
      ...{ server: `srt://127.0.0.1:${port}?streamid=${key}`, streamKey: '', media: film('baseline') },
      ...{ width: 640, height: 360, framesPerSecond: FPS, bitrateKbps: 1_500 },
    }),
  );
  console.info(`OBS by SRT: ${JSON.stringify(seen)}`);
  expect(seen.treatment).toMatch(/^(passthrough|transcode: B-frames)$/);
  expect(seen.uniqueFps).toBeGreaterThan(FPS * 0.8);
  expect(seen.flashRatio).toBeGreaterThan(0.75);
  expect(seen.beepRatio).toBeGreaterThan(0.75);
  expect(Math.abs(seen.skewMs)).toBeLessThanOrEqual(MAX_SKEW_MS);
  expect(seen.webhooks).toEqual(['ingress_started', 'ingress_ended']);
});
