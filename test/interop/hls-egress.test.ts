import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import {
  EgressStatus,
  EncodedFileOutput,
  EncodingOptions,
  ImageOutput,
  RoomCompositeEgressRequest,
  SegmentedFileOutput,
  TrackCompositeEgressRequest,
  type EgressInfo,
} from '@livekit/protocol';
import type { Page } from 'puppeteer';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { parsePlaylist } from '../../services/media/hls/playlist.ts';
import { chromiumPath, launchChromium, type TestBrowser } from '../support/chromium.ts';
import { encodeClip, publishClip } from '../support/clip-publisher.ts';
import { startEgressNode, type EgressNode } from '../support/egress-node.ts';
import { ffmpeg } from '../support/ffmpeg-encoder.ts';
import { ffprobe, streamOf } from '../support/ffprobe.ts';
import { analyzeFlashBeep, type FlashBeepReport } from '../support/flash-beep.ts';
import { freshName } from '../support/fresh-name.ts';
import { playerReport, playHls, serveHls, type HlsSite } from '../support/hls-player.ts';
import { isNear, meanColour } from '../support/picture.ts';
import { startSfuServer, type SfuServer } from '../support/sfu-server.ts';

const { EGRESS_ACTIVE, EGRESS_COMPLETE, EGRESS_FAILED } = EgressStatus;
const ROOM = 'studio';

let server: SfuServer;
let node: EgressNode;
let browser: TestBrowser;
let site: HlsSite;
let publisher: Awaited<ReturnType<typeof publishClip>>;
let tracks: { videoTrackId: string; audioTrackId: string };
const pages: Page[] = [];

beforeAll(async () => {
  const clip = await encodeClip({
    ...{ width: 640, height: 360, framesPerSecond: 30, seconds: 10, bitrateKbps: 900, keyFrameEvery: 15 },
  });
  server = await startSfuServer();
  node = await startEgressNode(server, {
    cores: 16,
    tools: { ffmpegPath: 'ffmpeg', ffprobePath: 'ffprobe', chromiumPath: chromiumPath() },
  });
  publisher = await publishClip({ wsUrl: server.wsUrl, token: await server.joinToken('alice', ROOM), clip });
  const [video, audio] = publisher.trackSids;
  tracks = { videoTrackId: video ?? '', audioTrackId: audio ?? '' };
  site = await serveHls(node.folder);
  browser = await launchChromium();
}, 240_000);

afterEach(async () => {
  await closePages();
  await node.stopAll();
});

afterAll(async () => {
  await browser.close();
  await site.close();
  await publisher.close();
  await node.close();
  await server.close();
});

function segments(name: string, fields: Partial<SegmentedFileOutput> = {}): SegmentedFileOutput {
  return new SegmentedFileOutput({
    ...{ playlistName: `${name}/all`, livePlaylistName: 'live', filenamePrefix: `${name}/seg` },
    segmentDuration: 2,
    ...fields,
  });
}

const options = {
  case: 'advanced' as const,
  value: new EncodingOptions({ width: 640, height: 360, framerate: 30, videoBitrate: 1200 }),
};

async function startTrackComposite(fields: Partial<TrackCompositeEgressRequest>): Promise<string> {
  const egressId = freshName('EG_hls');
  const value = new TrackCompositeEgressRequest({ roomName: ROOM, ...tracks, options, ...fields });
  await node.start(egressId, ROOM, { case: 'trackComposite', value });
  await node.reached(egressId, EGRESS_ACTIVE);
  return egressId;
}

async function playlistOf(name: string, file = 'all.m3u8') {
  const text = await readFile(path.join(node.folder, name, file), 'utf8').catch(() => '');
  return { text, segments: parsePlaylist(text) };
}

async function untilSegments(name: string, count: number): Promise<void> {
  await expect
    .poll(async () => (await playlistOf(name)).segments.length, { timeout: 60_000, interval: 200 })
    .toBeGreaterThanOrEqual(count);
}

/** The segments of a playlist joined to one transport stream, with its clock moved to 0 for the analysis. */
async function joined(name: string): Promise<string> {
  const { segments: listed } = await playlistOf(name);
  const parts = await Promise.all(
    listed.map((segment) => readFile(path.join(node.folder, name, segment.name))),
  );
  const file = path.join(node.folder, `${name}-joined.ts`);
  await writeFile(file, Buffer.concat(parts));
  const moved = path.join(node.folder, `${name}-joined.mp4`);
  await ffmpeg(['-v', 'error', '-xerror', '-y', '-i', file, '-c', 'copy', moved]);
  return moved;
}

/** What holds for every finished playlist: order, times, names, sizes. */
async function expectWholePlaylist(name: string, info: EgressInfo, segmentDurationS: number): Promise<void> {
  const { text, segments: listed } = await playlistOf(name);
  expect(text.endsWith('#EXT-X-ENDLIST\n')).toBe(true);
  const [result] = info.segmentResults;
  expect(Number(result?.segmentCount)).toBe(listed.length);
  const totalS = listed.reduce((sum, { durationUs }) => sum + durationUs / 1e6, 0);
  expect(Math.abs(Number(result?.duration) / 1e9 - totalS)).toBeLessThan(0.1);
  expect(Math.abs(listed.length - Math.ceil(totalS / segmentDurationS))).toBeLessThanOrEqual(1);
  for (const [index, segment] of listed.entries()) {
    expect(segment.name).toBe(`seg_0000${index}.ts`.replace(/_0+(\d{5})/, '_$1'));
    const next = listed[index + 1];
    if (next !== undefined) {
      const gapMs = next.startedAtMs - segment.startedAtMs - segment.durationUs / 1000;
      expect(Math.abs(gapMs)).toBeLessThan(50);
      expect(Math.abs(segment.durationUs / 1e6 - segmentDurationS)).toBeLessThan(0.5);
    }
  }
}

/** Segments hold what the file holds, to the frame; how good that is depends on source and machine. */
function expectSameContent(segmented: FlashBeepReport, ofFile: FlashBeepReport): void {
  const { frames, reordered, skipped } = ofFile;
  expect(segmented).toMatchObject({ frames, reordered, skipped });
  expect(segmented.flashesS).toHaveLength(ofFile.flashesS.length);
  expect(Math.abs(segmented.beepsS.length - ofFile.beepsS.length)).toBeLessThanOrEqual(1);
  expect(segmented.flashRatio).toBeGreaterThan(0.7);
  expect(segmented.beepRatio).toBeGreaterThan(0.7);
  expect(Math.abs(segmented.medianOffsetMs - ofFile.medianOffsetMs)).toBeLessThan(25);
  expect(Math.abs(segmented.medianOffsetMs)).toBeLessThanOrEqual(60);
}

async function openPage(): Promise<Page> {
  const page = await browser.newPage();
  pages.push(page);
  return page;
}

async function closePages(): Promise<void> {
  await Promise.all(pages.splice(0).map((page) => page.close()));
}

/** Waits until the player has decoded `count` pictures; a player that stands still is shown whole. */
async function untilPlayed(page: Page, count: number): Promise<void> {
  let report = await playerReport(page);
  await expect
    .poll(async () => (report = await playerReport(page)).frames, { timeout: 40_000 })
    .toBeGreaterThan(count)
    .catch(() => expect.fail(`the player does not go on: ${JSON.stringify(report)}`));
}

describe('segments of a running job', () => {
  it(
    'play live in hls.js and whole afterwards, next to a file and images from the same encode',
    { timeout: 180_000 },
    async () => {
      const name = freshName('one');
      const egressId = await startTrackComposite({
        fileOutputs: [new EncodedFileOutput({ filepath: `${name}/whole.mp4` })],
        segmentOutputs: [segments(name)],
        imageOutputs: [
          new ImageOutput({ filenamePrefix: `${name}/image`, captureInterval: 3, width: 320, height: 180 }),
          new ImageOutput({ filenamePrefix: `${name}/full`, captureInterval: 4 }),
        ],
      });
      await untilSegments(name, 3);
      const page = await openPage();
      await playHls(page, site, `${name}/live.m3u8`);
      await untilPlayed(page, 60);
      const early = await playerReport(page);
      expect(early).toMatchObject({ errors: [], isLive: true, width: 640 });
      await expect
        .poll(async () => (await playerReport(page)).currentTime, { timeout: 40_000 })
        .toBeGreaterThan(early.currentTime + 4);
      expect((await playerReport(page)).frames).toBeGreaterThan(early.frames + 40);
      await closePages();
      await node.stop(egressId);
      const info = await node.reached(egressId, EGRESS_COMPLETE);

      await expectWholePlaylist(name, info, 2);
      const live = await playlistOf(name, 'live.m3u8');
      expect(live.text).toContain('#EXT-X-ENDLIST');
      expect(live.segments).toHaveLength(5);
      const report = await analyzeFlashBeep(await joined(name));
      const whole = path.join(node.folder, name, 'whole.mp4');
      const ofFile = await analyzeFlashBeep(whole);
      expectSameContent(report, ofFile);

      const again = await openPage();
      await playHls(again, site, `${name}/all.m3u8`);
      await untilPlayed(again, 30);
      const { duration } = await playerReport(again);
      expect(Math.abs(duration - report.durationS)).toBeLessThan(0.5);
      await again.evaluate(`window.jump(${duration - 3})`);
      await expect.poll(async () => (await playerReport(again)).hasEnded, { timeout: 40_000 }).toBe(true);
      expect(await playerReport(again)).toMatchObject({ errors: [], isLive: false });
      await closePages();

      const [small, full] = info.imageResults;
      expect(Number(small?.imageCount)).toBeGreaterThanOrEqual(3);
      expect(Number(full?.imageCount)).toBeGreaterThanOrEqual(2);
      const manifest = JSON.parse(
        await readFile(path.join(node.folder, name, `${egressId}.json`), 'utf8'),
      ) as {
        images: { filename: string; timestamp: number; location: string }[];
        playlists: { segments: unknown[] }[];
        files: unknown[];
      };
      expect(manifest.files).toHaveLength(1);
      expect(manifest.playlists[0]?.segments).toHaveLength(Number(info.segmentResults[0]?.segmentCount));
      for (const { filename, location, timestamp } of manifest.images) {
        const isSmall = filename.includes('image');
        expect(streamOf(await ffprobe(location), 'video')).toMatchObject(
          isSmall ? { codec_name: 'mjpeg', width: 320, height: 180 } : { width: 640, height: 360 },
        );
        if (!isSmall) {
          const atS = timestamp / 1e9 - Number(info.fileResults[0]?.startedAt) / 1e9;
          const point = { x: 0.25, y: 0.9 };
          const seen = await meanColour(location, 0, point);
          const recorded = await meanColour(whole, Math.max(0, atS - 0.01), point);
          expect(
            isNear(seen, recorded, 40),
            `${String(seen)} at ${atS} s, recorded ${String(recorded)}`,
          ).toBe(true);
        }
      }
      expect(await readdir(node.tmpDir)).toEqual([]);
    },
  );

  it(
    'survive the handler: playable segments, playlists with an end, and the file',
    { timeout: 120_000 },
    async () => {
      const name = freshName('two');
      const egressId = await startTrackComposite({
        fileOutputs: [new EncodedFileOutput({ filepath: `${name}/whole.mp4` })],
        segmentOutputs: [segments(name)],
      });
      await untilSegments(name, 3);
      await delay(1000); // into the next segment
      const { handlerPid } = node.service.jobs().find((job) => job.egressId === egressId) ?? {};
      process.kill(handlerPid ?? 0, 'SIGKILL');
      const info = await node.reached(egressId, EGRESS_FAILED);
      expect(info.error).toMatch(/what was recorded until then is kept/);
      const { text, segments: listed } = await playlistOf(name);
      expect(text.endsWith('#EXT-X-ENDLIST\n')).toBe(true);
      expect((await playlistOf(name, 'live.m3u8')).text).toContain('#EXT-X-ENDLIST');
      expect(listed.length).toBeGreaterThanOrEqual(3);
      expect(Number(info.segmentResults[0]?.segmentCount)).toBe(listed.length);
      const report = await analyzeFlashBeep(await joined(name));
      expect(report.durationS).toBeGreaterThan(6);
      expect(report.flashRatio).toBeGreaterThan(0.7);
      expect(report.beepRatio).toBeGreaterThan(0.7);
      expect((await stat(info.fileResults[0]?.location ?? '')).size).toBeGreaterThan(30_000);
      const page = await openPage();
      await playHls(page, site, `${name}/all.m3u8`);
      await untilPlayed(page, 60);
      expect((await playerReport(page)).errors).toEqual([]);
      await closePages();
      expect(await readdir(node.tmpDir)).toEqual([]);
    },
  );

  it('come from a room composite as well', { timeout: 120_000 }, async () => {
    const name = freshName('three');
    const egressId = freshName('EG_hlsroom');
    const value = new RoomCompositeEgressRequest({
      ...{ roomName: ROOM, layout: 'grid', options },
      fileOutputs: [new EncodedFileOutput({ filepath: `${name}/whole.mp4` })],
      segmentOutputs: [segments(name, { segmentDuration: 3, livePlaylistName: '' })],
      imageOutputs: [new ImageOutput({ filenamePrefix: `${name}/image`, captureInterval: 2 })],
    });
    await node.start(egressId, ROOM, { case: 'roomComposite', value });
    await node.reached(egressId, EGRESS_ACTIVE);
    await untilSegments(name, 3);
    await node.stop(egressId);
    const info = await node.reached(egressId, EGRESS_COMPLETE);
    await expectWholePlaylist(name, info, 3);
    const report = await analyzeFlashBeep(await joined(name));
    expectSameContent(report, await analyzeFlashBeep(path.join(node.folder, name, 'whole.mp4')));
    expect(Number(info.imageResults[0]?.imageCount)).toBeGreaterThanOrEqual(4);
  });

  it('are refused before the start when they cannot be named', async () => {
    const value = new TrackCompositeEgressRequest({
      ...{ roomName: ROOM, ...tracks },
      segmentOutputs: [segments('four', { livePlaylistName: 'four/all' })],
    });
    await expect(
      node.start(freshName('EG_hlsnames'), ROOM, { case: 'trackComposite', value }),
    ).rejects.toMatchObject({
      code: 'invalid_argument',
      message: expect.stringMatching(/live_playlist_name cannot be identical/) as string,
    });
  });
});
