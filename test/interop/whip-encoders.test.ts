import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { fixtureFile } from '../../fixtures/generate.ts';
import { createLogger } from '../../services/base/logger.ts';
import { RoomInternal } from '../../services/bus/rpc-methods.ts';
import { NAL_TYPE, nalType, splitAnnexB } from '../../services/media/codecs/h264.ts';
import { connectRoom } from '../../services/rtc-client/room-client.ts';
import { ENDPOINT_INACTIVE, ENDPOINT_PUBLISHING, STREAM_KEY } from '../support/ingress-harness.ts';
import { analyzeFlashBeep } from '../support/flash-beep.ts';
import { codedPictures } from '../support/nal-hashes.ts';
import { ObsLikeEncoder } from '../support/obs-like-encoder.ts';
import { recordTracks } from '../support/room-recorder.ts';
import { disposeRtcNode, type RtcNodeViewer } from '../support/rtc-node-viewer.ts';
import { FfmpegWhipPublisher, WHIP_360P } from '../support/whip-ffmpeg.ts';
import { startWhipStage, type WhipStage } from '../support/whip-stage.ts';

let file: string;
let dir: string;
let stage: WhipStage;
const publishers: FfmpegWhipPublisher[] = [];
const encoders: ObsLikeEncoder[] = [];

beforeAll(async () => {
  file = await fixtureFile(WHIP_360P);
  dir = await mkdtemp(path.join(tmpdir(), 'sluice-whip-'));
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
  await rm(dir, { recursive: true, force: true });
});

test("FFmpeg's WHIP muxer is seen and heard, flash and beep together", async () => {
  stage = await startWhipStage();
  const viewer = await stage.viewer();
  const publisher = new FfmpegWhipPublisher({ url: `${stage.harness.whipUrl}/${STREAM_KEY}`, file });
  publishers.push(publisher);
  await publisher.connected;
  await expectFlashAndBeep(viewer, { width: 640, height: 360 });
  await expectLipSync();

  const state = await stage.harness.stateThat(
    ({ status, video, audio }) =>
      status === ENDPOINT_PUBLISHING && (video?.averageBitrate ?? 0) > 0 && (audio?.averageBitrate ?? 0) > 0,
  );
  expect(state.video).toMatchObject({ mimeType: 'video/H264', width: 640, height: 360 });
  expect(state.video?.framerate).toBeCloseTo(30, 0);
  expect(state.audio).toMatchObject({ mimeType: 'audio/opus', channels: 2, sampleRate: 48_000 });
  await publisher.stop();
  const final = await stage.harness.stateThat(({ status }) => status === ENDPOINT_INACTIVE);
  expect(final.error).toBe('');
  await expect.poll(() => viewer.participant('obs'), { timeout: 15_000 }).toBeUndefined();
});

test('an encoder shaped like OBS is seen and heard, and stops with DELETE', async () => {
  stage = await startWhipStage();
  const viewer = await stage.viewer();
  const encoder = await ObsLikeEncoder.start({
    url: stage.harness.whipUrl,
    bearer: STREAM_KEY,
    layers: [{ width: 640, height: 360, bitrateKbps: 800 }],
  });
  encoders.push(encoder);
  expect(encoder.offer).not.toContain('a=candidate');
  expect(encoder.offer).toContain('profile-level-id=42e01f');
  expect(encoder.location).not.toContain(STREAM_KEY);
  await expectFlashAndBeep(viewer, { width: 640, height: 360 });
  await expectLipSync();

  const { participants } = await stage.sfu.bus.request(RoomInternal.listParticipants, { room: 'studio' });
  const obs = participants.find(({ identity }) => identity === 'obs');
  expect(obs?.toJson()).toMatchObject({
    name: 'OBS',
    metadata: '{"role":"host"}',
    kind: 'INGRESS',
    attributes: {
      'ingress.ingressID': 'IN_test',
      'ingress.resourceID': expect.stringMatching(/^WH_/) as string,
      'sluice.ingress.video': 'passthrough',
    },
  });
  expect(obs?.tracks.map(({ name, width, height }) => ({ name, width, height }))).toEqual(
    expect.arrayContaining([
      { name: 'picture', width: 640, height: 360 },
      { name: 'sound', width: 0, height: 0 },
    ]),
  );
  expect(await encoder.stop()).toBe(200);
  await stage.harness.stateThat(({ status }) => status === ENDPOINT_INACTIVE);
});

test('the packets of the encoder reach a receiver bit for bit', async () => {
  stage = await startWhipStage();
  const client = await connectRoom({
    url: stage.sfu.wsUrl,
    token: await stage.sfu.joinToken('receiver', 'studio'),
    autoSubscribe: false,
    logger: createLogger({ level: 'silent' }),
  });
  const published = new Promise<string>((resolve) => {
    client.events.on('trackPublished', ({ kind, trackSid }) => {
      if (kind === 'video') {
        resolve(trackSid);
      }
    });
  });
  const publisher = new FfmpegWhipPublisher({ url: stage.harness.whipUrl, bearer: STREAM_KEY, file });
  publishers.push(publisher);
  const subscription = await client.subscribe(await published);
  const received: string[] = [];
  await new Promise<void>((resolve) => {
    subscription.events.on('packet', ({ data }) => {
      received.push(hashOfSlices(data));
      if (received.length >= 150) {
        resolve();
      }
    });
  });
  await client.close('test over');
  const sent = (await codedPictures(file)).map(({ hash }) => hash);
  // Still pictures look alike, so only the sequence as a whole says where in the file the receiver came in.
  const follows = (start: number): boolean =>
    received.every((hash, i) => hash === sent[(start + i) % sent.length]);
  expect(sent.findIndex((_, start) => follows(start))).toBeGreaterThanOrEqual(0);
});

function hashOfSlices(accessUnit: Uint8Array): string {
  const hash = createHash('sha1');
  for (const nal of splitAnnexB(accessUnit)) {
    if (nalType(nal) === NAL_TYPE.slice || nalType(nal) === NAL_TYPE.idr) {
      hash.update(nal);
    }
  }
  return hash.digest('hex');
}

/** Decoded by LiveKit's Rust client: in order, nothing repeated, sound and silence in between. */
async function expectFlashAndBeep(
  viewer: RtcNodeViewer,
  size: { width: number; height: number },
): Promise<void> {
  const { frames, sound } = viewer;
  const flashes = (): number => onsets(frames.map(({ flash }) => flash));
  const beeps = (): number => onsets(sound.map(({ beep }) => beep));
  await viewer.until(() => frames.length >= 90 && flashes() >= 2 && beeps() >= 2);
  expect(frames.at(-1)).toMatchObject(size);
  const codes = frames.map(({ barcode }) => barcode);
  expect(new Set(codes).size).toBeGreaterThanOrEqual(codes.length * 0.9);
  expect(codes.slice(1).filter((code, i) => code < (codes[i] ?? 0)).length).toBeLessThanOrEqual(1);
  expect(sound.some(({ rms }) => rms < 0.001)).toBe(true);
}

/** By the clock of the encoder's sender reports, in what a receiver records. */
async function expectLipSync(): Promise<void> {
  const recording = path.join(dir, 'recording.mp4');
  await recordTracks({
    wsUrl: stage.sfu.wsUrl,
    token: await stage.sfu.joinToken('recorder', 'studio'),
    file: recording,
    seconds: 8,
  });
  const report = await analyzeFlashBeep(recording);
  expect(report.flashesS.length).toBeGreaterThanOrEqual(3);
  expect(report).toMatchObject({ reordered: 0, skipped: 0 });
  expect(Math.abs(report.medianOffsetMs)).toBeLessThan(45);
}

function onsets(series: readonly boolean[]): number {
  return series.filter((on, i) => on && series[i - 1] === false).length;
}
