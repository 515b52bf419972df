import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { flashBeepInputs, passthroughH264 } from '../../fixtures/flash-beep.ts';
import { LocalMedia } from '../../services/media/rtp/local-media.ts';
import { launchChromium, type TestBrowser } from '../support/chromium.ts';
import { ffmpeg } from '../support/ffmpeg-encoder.ts';
import { eventually, LivekitPage, serveLivekitPage } from '../support/livekit-page.ts';
import { disposeRtcNode, type RtcNodeViewer } from '../support/rtc-node-viewer.ts';
import { startRtmpStage, type RtmpStage } from '../support/rtmp-stage.ts';

const RATE = 30;
const GOP_FRAMES = 10 * RATE;
const MAX_LIP_SYNC_MS = 60;

let dir: string;
let stage: RtmpStage;
let browser: TestBrowser;
const pages: LivekitPage[] = [];

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'sluice-late-viewer-'));
  await ffmpeg([
    ...flashBeepInputs({
      width: 640,
      height: 360,
      framesPerSecond: RATE,
      realTime: false,
      background: 'motion',
    }),
    ...['-t', '60', ...passthroughH264({ framesPerSecond: RATE, bitrateKbps: 2_000 })],
    ...['-g', String(GOP_FRAMES), '-keyint_min', String(GOP_FRAMES), '-c:a', 'aac', '-b:a', '128k'],
    path.join(dir, 'long-gop.flv'),
  ]);
  browser = await launchChromium();
  stage = await startRtmpStage({ localMedia: new LocalMedia(), onRequest: serveLivekitPage });
}, 240_000);

afterEach(async () => {
  await stage.clear();
  await Promise.all(pages.splice(0).map(({ page }) => page.close()));
  await expect.poll(() => stage.harness.ingress.activeIngressIds(), { timeout: 30_000 }).toEqual([]);
});

afterAll(async () => {
  await browser.close();
  await stage.close();
  await disposeRtcNode();
  await rm(dir, { recursive: true, force: true });
});

/** An encoder with a key frame every 10 s, watched until well between two of them. */
async function midGroup(): Promise<RtcNodeViewer> {
  const early = await stage.viewer('early');
  stage.push(path.join(dir, 'long-gop.flv'));
  await early.until(() => latest(early) >= GOP_FRAMES / 4);
  return early;
}

function latest(viewer: RtcNodeViewer): number {
  return viewer.frames.at(-1)?.barcode ?? -1;
}

test('a viewer who joins between two key frames sees the picture before the next one; the others notice nothing', async () => {
  const early = await midGroup();
  const late = await stage.viewer('late');
  await late.until(() => late.frames.length >= 10);
  expect(latest(early)).toBeLessThan(GOP_FRAMES - RATE);
  expect(latest(late)).toBeLessThan(GOP_FRAMES);

  // In time with the others, and sound with picture.
  await late.until(() => beepsAndFlashes(late).length >= 5);
  expect(Math.abs(latest(late) - latest(early))).toBeLessThanOrEqual(6);
  const offsets = beepsAndFlashes(late).slice(2);
  expect(Math.abs(median(offsets) - median(beepsAndFlashes(early)))).toBeLessThanOrEqual(MAX_LIP_SYNC_MS);

  const codes = early.frames.map(({ barcode }) => barcode);
  const steps = codes.slice(1).map((code, index) => code - (codes[index] ?? 0));
  expect(steps.filter((step) => step < 0)).toEqual([]);
  expect(steps.filter((step) => step === 1).length).toBeGreaterThan(steps.length * 0.9);
});

test('so does Chromium, as much in sync as one that was there from the start', async () => {
  const fromTheStart = await openPage('patient');
  const early = await midGroup();
  const page = await openPage('browser');
  await eventually(
    'frames',
    () => videoOf(page),
    ({ framesDecoded }) => framesDecoded >= 10,
  );
  expect(latest(early)).toBeLessThan(GOP_FRAMES);
  const { framesDecoded } = await eventually(
    'the next group',
    () => videoOf(page),
    () => latest(early) >= GOP_FRAMES + RATE,
  );
  await early.until(() => latest(early) >= GOP_FRAMES + 6 * RATE);
  const after = await videoOf(page);
  expect(after.framesDecoded - framesDecoded).toBeGreaterThan(3 * RATE);
  // Chromium moves sound and picture towards each other in small steps.
  await eventually(
    'the same lip sync',
    async () => (await playoutDifferenceMs(page)) - (await playoutDifferenceMs(fromTheStart)),
    (difference) => Math.abs(difference) <= MAX_LIP_SYNC_MS,
  );
});

async function openPage(identity: string): Promise<LivekitPage> {
  const page = await LivekitPage.open(browser, stage.sfu);
  pages.push(page);
  await page.connect(stage.sfu.wsUrl, await stage.sfu.joinToken(identity, 'studio'));
  return page;
}

async function videoOf(page: LivekitPage): Promise<{ framesDecoded: number }> {
  return (await page.inbound('video'))[0] ?? { framesDecoded: 0 };
}

/** How much later the picture is played than the sound of the same moment, as Chromium itself knows it. */
function playoutDifferenceMs(page: LivekitPage): Promise<number> {
  return page.run(`(async () => {
    const times = {};
    (await app.room.engine.pcManager.publisher.getStats()).forEach((s) => {
      if (s.type === 'inbound-rtp') times[s.kind] = s.estimatedPlayoutTimestamp;
    });
    return times.audio - times.video;
  })()`);
}

/** Distance of each beep to its flash, positive = sound late, as they came out of the decoders. */
function beepsAndFlashes(viewer: RtcNodeViewer): number[] {
  const flashes = onsets(viewer.frames.map(({ atMs, flash }) => ({ atMs, on: flash })));
  const beeps = onsets(viewer.sound.map(({ atMs, beep }) => ({ atMs, on: beep })));
  return beeps.flatMap((beep) => {
    const [nearest] = flashes.map((flash) => beep - flash).sort((a, b) => Math.abs(a) - Math.abs(b));
    return nearest === undefined || Math.abs(nearest) > 450 ? [] : [nearest];
  });
}

function onsets(series: readonly { atMs: number; on: boolean }[]): number[] {
  return series.filter(({ on }, index) => on && series[index - 1]?.on === false).map(({ atMs }) => atMs);
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN;
}
