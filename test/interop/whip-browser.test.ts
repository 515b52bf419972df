import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Page } from 'puppeteer';
import { VideoQuality } from '@livekit/protocol';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { RoomInternal } from '../../services/bus/rpc-methods.ts';
import { launchChromium, type TestBrowser } from '../support/chromium.ts';
import { analyzeFlashBeep, readBarcode } from '../support/flash-beep.ts';
import { ENDPOINT_INACTIVE, ENDPOINT_PUBLISHING, STREAM_KEY } from '../support/ingress-harness.ts';
import { eventually, LivekitPage } from '../support/livekit-page.ts';
import { LossyLine } from '../support/lossy-line.ts';
import { OBS_SSRC, ObsLikeEncoder } from '../support/obs-like-encoder.ts';
import { recordTracks } from '../support/room-recorder.ts';
import { disposeRtcNode } from '../support/rtc-node-viewer.ts';
import { SeededRandom } from '../support/seeded-random.ts';
import { openWhipPage, serveWhipPage, type WhipResource } from '../support/whip-page.ts';
import { startWhipStage, type WhipStage } from '../support/whip-stage.ts';

let browser: TestBrowser;
let stage: WhipStage;
const pages: Page[] = [];

beforeAll(async () => {
  browser = await launchChromium();
});
beforeEach(async () => {
  stage = await startWhipStage({ onRequest: serveWhipPage });
});
afterEach(async () => {
  await Promise.all(pages.splice(0).map((page) => page.close()));
  await stage.close();
});
afterAll(async () => {
  await browser.close();
  await disposeRtcNode();
});

async function publish(codec: string): Promise<{ page: Page; resource: WhipResource }> {
  const page = await openWhipPage(browser, stage.sfu.httpUrl);
  pages.push(page);
  const request = JSON.stringify({ url: stage.harness.whipUrl, bearer: STREAM_KEY, codec });
  const resource = (await page.evaluate(`app.publish(${request})`)) as WhipResource;
  return { page, resource };
}

test.each(['video/VP8', 'video/H264', 'video/VP9', 'video/AV1'])(
  'a browser with RTCPeerConnection and fetch publishes %s',
  async (codec) => {
    const viewer = await stage.viewer();
    const { page, resource } = await publish(codec);
    expect(resource.status).toBe(201);
    expect(resource.location).toMatch(/\/w\/resource\/\w{32}$/);
    expect(resource.etag).toMatch(/^"\w+"$/);
    const { frames, sound } = viewer;
    const flashes = (): number => onsets(frames.map(({ flash }) => flash));
    const beeps = (): number => onsets(sound.map(({ beep }) => beep));
    await viewer.until(() => frames.length >= 60 && flashes() >= 2 && beeps() >= 2);
    expect(sound.some(({ rms }) => rms < 0.01)).toBe(true);
    const state = await stage.harness.stateThat(
      ({ status, video }) => status === ENDPOINT_PUBLISHING && (video?.averageBitrate ?? 0) > 0,
    );
    expect(state.video?.mimeType).toBe(codec);
    // A browser starts small and grows; the picture is 16:9 at every size.
    expect(state.video?.width).toBeGreaterThanOrEqual(160);
    expect((state.video?.width ?? 0) / (state.video?.height ?? 1)).toBeCloseTo(16 / 9, 1);
    expect(await page.evaluate('app.stop()')).toBe(200);
    await stage.harness.stateThat(({ status }) => status === ENDPOINT_INACTIVE);
  },
);

test('a browser restarts ICE by PATCH, and media goes on', async () => {
  const viewer = await stage.viewer();
  const { page, resource } = await publish('video/VP8');
  await viewer.until(() => viewer.frames.length >= 10);
  const restart = (await page.evaluate('app.restart()')) as {
    status: number;
    etag: string;
    before: { ufrag: string };
    ufrag: string;
  };
  expect(restart.status).toBe(200);
  expect(restart.etag).toMatch(/^"\w+"$/);
  expect(restart.etag).not.toBe(resource.etag);
  const pair = await eventually(
    'another ICE generation',
    async () => (await page.evaluate('app.pair()')) as { ufrag: string },
    ({ ufrag }) => ufrag !== restart.before.ufrag,
  );
  expect(pair.ufrag).not.toBe(restart.before.ufrag);
  const before = viewer.frames.length;
  await viewer.until(() => viewer.frames.length >= before + 60);
  expect(await page.evaluate('app.connected()')).toBe('connected');
});

test('all three layers of an OBS simulcast are taken, the first rid as the best', async () => {
  const watcher = await LivekitPage.open(browser, stage.sfu);
  pages.push(watcher.page);
  await watcher.connect(stage.sfu.wsUrl, await stage.sfu.joinToken('watcher', 'studio'));
  const encoder = await ObsLikeEncoder.start({
    url: stage.harness.whipUrl,
    bearer: STREAM_KEY,
    layers: [
      { width: 640, height: 360, bitrateKbps: 700 },
      { width: 320, height: 180, bitrateKbps: 250 },
      { width: 160, height: 90, bitrateKbps: 100 },
    ],
  });
  try {
    expect(encoder.answer).toContain('a=simulcast:recv 0;1;2');
    const layersOf = async (): Promise<object> => {
      const { participants } = await stage.sfu.bus.request(RoomInternal.listParticipants, { room: 'studio' });
      const tracks = participants.find(({ identity }) => identity === 'obs')?.tracks ?? [];
      const layers = tracks.find(({ name }) => name === 'picture')?.codecs[0]?.layers ?? [];
      return layers.map(({ quality, width, height }) => ({ quality, width, height }));
    };
    await expect.poll(layersOf, { timeout: 15_000 }).toEqual([
      { quality: VideoQuality.LOW, width: 160, height: 90 },
      { quality: VideoQuality.MEDIUM, width: 320, height: 180 },
      { quality: VideoQuality.HIGH, width: 640, height: 360 },
    ]);
    for (const [quality, width] of [
      [VideoQuality.HIGH, 640],
      [VideoQuality.LOW, 160],
      [VideoQuality.MEDIUM, 320],
    ]) {
      await watcher.run(
        `app.remoteVideos().forEach((publication) => publication.setVideoQuality(${String(quality)}))`,
      );
      await eventually(
        `a picture ${String(width)} wide`,
        () => watcher.inbound('video'),
        ([video]) => video?.width === width,
      );
    }
  } finally {
    encoder.drop();
  }
});

test('a low layer whose encoder answers no NACK is repaired by its key frames, and the layer above is whole', async () => {
  const watcher = await LivekitPage.open(browser, stage.sfu);
  pages.push(watcher.page);
  await watcher.connect(stage.sfu.wsUrl, await stage.sfu.joinToken('watcher', 'studio'));
  const random = new SeededRandom(13161);
  let lossRate = 0;
  const line = new LossyLine({
    isLost: ({ ssrc }) => ssrc !== OBS_SSRC.audio && random.chance(lossRate),
    // What asks for SSRCs that the offer does not name is not handed on by libdatachannel: so it is with OBS.
    repairs: () => true,
  });
  const low = OBS_SSRC.video + 1;
  const encoder = await ObsLikeEncoder.start({
    url: stage.harness.whipUrl,
    bearer: STREAM_KEY,
    layers: [
      { width: 640, height: 360, bitrateKbps: 700 },
      { width: 320, height: 180, bitrateKbps: 250 },
    ],
    line,
  });
  const dir = await mkdtemp(path.join(tmpdir(), 'sluice-nack-deaf-'));
  try {
    await eventually(
      'the low layer',
      async () => {
        await watcher.run(
          `app.remoteVideos().forEach((publication) => publication.setVideoQuality(${VideoQuality.LOW}))`,
        );
        return watcher.inbound('video');
      },
      ([video]) => video?.width === 320,
    );
    lossRate = 0.02;
    const [before] = await watcher.inbound('video');
    const file = path.join(dir, 'high.mp4');
    const token = await stage.sfu.joinToken('recorder', 'studio');
    const recorded = recordTracks({ wsUrl: stage.sfu.wsUrl, token, file, seconds: 7 });
    const [after] = await eventually(
      'key frames after losses',
      () => watcher.inbound('video'),
      ([video]) =>
        (line.lost.get(low) ?? 0) >= 5 &&
        (video?.keyFramesDecoded ?? 0) >= (before?.keyFramesDecoded ?? 0) + 3 &&
        (video?.framesDecoded ?? 0) >= (before?.framesDecoded ?? 0) + 60,
      30_000,
    );
    expect(after).toMatchObject({ width: 320, height: 180 });
    expect(line.repaired.has(low)).toBe(false);
    // What is on the screen is a whole picture: it says a time that goes on.
    const codes: number[] = [];
    await eventually(
      'pictures in their order',
      async () => codes.push(await shownBarcode(watcher)),
      () =>
        codes.slice(-4).every((code, i, last) => i === 0 || code > (last[i - 1] ?? 0)) && codes.length > 4,
      30_000,
    );
    await recorded;
    const report = await analyzeFlashBeep(file);
    expect(line.repaired.get(OBS_SSRC.video)).toBeGreaterThan(0);
    expect(report).toMatchObject({ reordered: 0, skipped: 0 });
    expect(report.flashesS.length).toBeGreaterThanOrEqual(3);
  } finally {
    encoder.drop();
    await rm(dir, { recursive: true, force: true });
  }
});

/** Of the picture on screen now. */
async function shownBarcode(watcher: LivekitPage): Promise<number> {
  const gray = await watcher.run<string>(`(() => {
    const canvas = document.createElement('canvas');
    canvas.width = 320; canvas.height = 180;
    const context = canvas.getContext('2d');
    context.drawImage(document.querySelector('video'), 0, 0, 320, 180);
    const { data } = context.getImageData(0, 0, 320, 180);
    let gray = '';
    for (let i = 1; i < data.length; i += 4) gray += String.fromCharCode(data[i]);
    return btoa(gray);
  })()`);
  return readBarcode(Buffer.from(gray, 'base64'));
}

function onsets(series: readonly boolean[]): number {
  return series.filter((on, i) => on && series[i - 1] === false).length;
}
