import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { StreamInfo_Status as Status } from '@livekit/protocol';
import {
  EgressStatus,
  EncodedFileOutput,
  EncodingOptions,
  ImageOutput,
  SegmentedFileOutput,
  StreamOutput,
  StreamProtocol,
  type EgressInfo,
} from 'livekit-server-sdk';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { expectCaptured } from '../support/captured-report.ts';
import { CLIP_FRAMES, startClipRoom, type ClipRoom } from '../support/clip-room.ts';
import { fromFolder, joinSegments } from '../support/delivered-segments.ts';
import { ffprobe, packetHashes, streamOf } from '../support/ffprobe.ts';
import { analyzeFlashBeep, type FlashBeepReport } from '../support/flash-beep.ts';
import { frameCounters } from '../support/frame-counter.ts';
import { freshName } from '../support/fresh-name.ts';
import { watchMachine } from '../support/machine-load.ts';
import { codedPictures } from '../support/nal-hashes.ts';
import { freePort } from '../support/ports.ts';

type Film = Awaited<ReturnType<typeof frameCounters>>;

let clip: ClipRoom;
beforeAll(async () => {
  clip = await startClipRoom();
}, 240_000);
afterEach(() => clip.stopJobs());
afterAll(() => clip.close());

const statuses = (info: EgressInfo): number[] => info.streamResults.map(({ status }) => status);
const isStreaming = (info: EgressInfo, index: number): boolean =>
  (info.streamResults[index]?.startedAt ?? 0n) > 0n;

describe('one encode of a room', () => {
  it(
    'feeds a file, segments, images and streams, picture by picture the same',
    { timeout: 150_000 },
    async () => {
      const { egress, nginx, room, rtmpsUrl, reach, sluice, workDir } = clip;
      const folder = freshName('all');
      const [FIRST, TLS, DEAD, ADDED] = ['first', 'tls', 'dead', 'added'].map(
        (name) => `sk-${freshName(name)}-key`,
      ) as [string, string, string, string];
      const dead = `rtmp://127.0.0.1:${await freePort()}/live/${DEAD}`;
      const started = await egress.startRoomCompositeEgress(
        room,
        {
          file: new EncodedFileOutput({ filepath: `${folder}/whole.mp4` }),
          segments: new SegmentedFileOutput({
            ...{ playlistName: `${folder}/index`, livePlaylistName: 'live', filenamePrefix: `${folder}/seg` },
            segmentDuration: 2,
          }),
          images: new ImageOutput({ filenamePrefix: `${folder}/image`, captureInterval: 2 }),
          stream: new StreamOutput({
            protocol: StreamProtocol.RTMP,
            urls: [nginx.url(FIRST), rtmpsUrl(TLS), dead],
          }),
        },
        { encodingOptions: new EncodingOptions({ width: 640, height: 360, framerate: 30 }) },
      );
      const { egressId } = started;
      const load = watchMachine();
      const running = await reach(
        egressId,
        (info) =>
          isStreaming(info, 0) && isStreaming(info, 1) && statuses(info)[2] === (Status.FAILED as number),
      );
      expect(running.status).toBe(EgressStatus.EGRESS_ACTIVE);
      expect(running.streamResults[2]?.error).toMatch(/connection refused/);
      await nginx.holds(FIRST, 4);
      const added = await egress.updateStream(egressId, [nginx.url(ADDED)], []);
      expect(added.streamResults).toHaveLength(4);
      await reach(egressId, (info) => isStreaming(info, 3));
      await expectOneEncoder(egressId);
      const removed = await egress.updateStream(egressId, [], [nginx.url(FIRST)]);
      expect(statuses(removed)).toEqual([Status.FINISHED, Status.ACTIVE, Status.FAILED, Status.ACTIVE]);
      const first = await nginx.recorded(FIRST);
      const { durationS } = await analyzeFlashBeep(first);
      await nginx.holds(TLS, durationS + 4);
      const wasBusy = load();
      await egress.stopEgress(egressId);
      const ended = await reach(egressId, ({ status }) => status === EgressStatus.EGRESS_COMPLETE);
      expect(statuses(ended)).toEqual([Status.FINISHED, Status.FINISHED, Status.FAILED, Status.FINISHED]);
      const told = JSON.stringify([started, await egress.listEgress()].flat().map((info) => info.toJson()));
      expect(told).toContain('/live/{sk-...key}');
      for (const key of [FIRST, TLS, DEAD, ADDED]) {
        expect(`${told}${sluice.log()}`).not.toContain(key);
      }

      const file = ended.fileResults[0]?.location ?? '';
      const whole = await expectWholeFile(file, wasBusy);
      const pictures = (await codedPictures(file)).map(({ hash }) => hash);
      const sound = await packetHashes(file, 'audio');
      const hls = await joinSegments(
        fromFolder(sluice.recordingsDir),
        `${folder}/index.m3u8`,
        path.join(workDir, `${folder}.mp4`),
      );
      expect((await codedPictures(hls)).map(({ hash }) => hash)).toEqual(pictures);
      expectLike(await analyzeFlashBeep(hls), whole);
      for (const streamed of [first, await nginx.recorded(TLS), await nginx.recorded(ADDED)]) {
        const sent = (await codedPictures(streamed)).map(({ hash }) => hash);
        expect(sent.length).toBeGreaterThan(60);
        expect(partOf(pictures, sent)).toEqual(sent);
        // The hash of a first packet covers what its container says about it.
        const heard = (await packetHashes(streamed, 'audio')).slice(1);
        expect(partOf(sound, heard)).toEqual(heard);
        expectLike(await analyzeFlashBeep(streamed), whole);
      }
      const film = await frameCounters(file);
      expectForward(film);
      await expectRightImages(ended, film);
    },
  );
});

/** One handler with one browser, which is the encoder; the ffmpeg next to it only does sound and stills. */
async function expectOneEncoder(egressId: string): Promise<void> {
  const running = await clip.sluice.descendants();
  const commands = await Promise.all(
    running.map(({ pid }) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')),
  );
  const handlers = commands.filter((command) => command.startsWith('egress-handler EG_'));
  const browsers = commands.filter((command) => /^\S*\/chrom(e|ium)\0(?!.*--type=)/.test(command));
  const soundEncoders = commands.filter((command) => /^\S*ffmpeg\0.*-c:a\0/.test(command));
  const pictureEncoders = commands.filter((command) => /libx264|-c:v\0(?!mjpeg)/.test(command));
  const told = commands.map((command) => command.replaceAll('\0', ' ').slice(0, 160)).join('\n');
  expect(handlers.length, told).toBe(1);
  expect(handlers[0]).toContain(egressId);
  expect(browsers.length, told).toBe(1);
  expect(soundEncoders.length, told).toBe(1);
  expect(pictureEncoders, told).toEqual([]);
}

async function expectWholeFile(file: string, wasBusy: boolean): Promise<FlashBeepReport> {
  const probe = await ffprobe(file);
  expect(streamOf(probe, 'video')).toMatchObject({ codec_name: 'h264', width: 640, height: 360 });
  expect(streamOf(probe, 'audio')).toMatchObject({ codec_name: 'aac', channels: 2 });
  const report = await analyzeFlashBeep(file);
  console.info(`one encode: ${JSON.stringify({ ...report, flashesS: undefined, beepsS: undefined })}`);
  expectCaptured(report, { recordedS: 8, wasBusy, minFps: 24, minRatio: 0.8 });
  return report;
}

/** The run of `whole` that is most like `part`. Silence and a picture that stands still hash the same again and again. */
function partOf(whole: readonly string[], part: readonly string[]): string[] {
  const runs = whole.flatMap((hash, start) =>
    hash === part[0] ? [whole.slice(start, start + part.length)] : [],
  );
  const likeness = (run: readonly string[]): number => run.filter((hash, i) => hash === part[i]).length;
  return runs.sort((a, b) => likeness(b) - likeness(a))[0] ?? [];
}

/** As complete as the file, and each flash as far from its beep as there; pictures and sound are known to be the same. */
function expectLike(report: FlashBeepReport, whole: FlashBeepReport): void {
  expect(report.flashRatio).toBeGreaterThanOrEqual(0.6);
  expect(report.beepRatio).toBeGreaterThanOrEqual(0.7);
  const strange = report.offsetsMs.filter((offset) =>
    whole.offsetsMs.every((known) => Math.abs(known - offset) > 25),
  );
  expect(strange, JSON.stringify(whole.offsetsMs)).toEqual([]);
}

/** The counter never goes back, whatever was left out. */
function expectForward(film: Film): void {
  const steps = film
    .slice(1)
    .map(({ value }, index) => (value - (film[index]?.value ?? 0) + CLIP_FRAMES) % CLIP_FRAMES);
  expect(steps.filter((step) => step > CLIP_FRAMES / 2)).toEqual([]);
  expect(steps.filter((step) => step > 4).length).toBeLessThan(steps.length / 10);
}

/** Each shows the counter that the file shows at its time. */
async function expectRightImages(info: EgressInfo, film: Film): Promise<void> {
  const manifest = JSON.parse(await readFile(info.manifestLocation, 'utf8')) as {
    images: { timestamp: number; location: string }[];
  };
  expect(manifest.images.length).toBeGreaterThanOrEqual(4);
  expect(manifest.images).toHaveLength(Number(info.imageResults[0]?.imageCount));
  for (const { timestamp, location } of manifest.images) {
    expect(streamOf(await ffprobe(location), 'video')).toMatchObject({ width: 640, height: 360 });
    const [still] = await frameCounters(location);
    const atS = (timestamp - Number(info.fileResults[0]?.startedAt)) / 1e9;
    const near = film.filter(({ timeS }) => Math.abs(timeS - atS) < 0.15).map(({ value }) => value);
    expect(near, `the image at ${atS} s`).toContain(still?.value);
  }
}
