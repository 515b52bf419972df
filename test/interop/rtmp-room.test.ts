import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { TrackSource } from '@livekit/protocol';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { flashBeepInputs, passthroughH264 } from '../../fixtures/flash-beep.ts';
import { RoomInternal } from '../../services/bus/rpc-methods.ts';
import { LocalMedia } from '../../services/media/rtp/local-media.ts';
import { ffmpeg } from '../support/ffmpeg-encoder.ts';
import { ENDPOINT_ERROR, ENDPOINT_PUBLISHING } from '../support/ingress-harness.ts';
import { disposeRtcNode } from '../support/rtc-node-viewer.ts';
import { startRtmpStage, type RtmpStage } from '../support/rtmp-stage.ts';

const PICTURE = { width: 640, height: 360, framesPerSecond: 30 };
const SECONDS = 6;

let dir: string;
let stage: RtmpStage;

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'sluice-rtmp-room-'));
  const source = [...flashBeepInputs({ ...PICTURE, realTime: false }), '-t', String(SECONDS)];
  const aac = ['-c:a', 'aac', '-b:a', '128k'];
  await ffmpeg([
    ...source,
    ...passthroughH264({ framesPerSecond: 30, bitrateKbps: 1_000 }),
    ...aac,
    path.join(dir, 'plain.flv'),
  ]);
  await ffmpeg([
    ...source,
    ...['-c:v', 'libx264', '-preset', 'veryfast', '-profile:v', 'main', '-bf', '2', '-g', '60'],
    ...['-pix_fmt', 'yuv420p', '-b:v', '1000k', ...aac, path.join(dir, 'bframes.flv')],
  ]);
}, 240_000);

afterEach(async () => {
  await stage.close();
});

afterAll(async () => {
  await disposeRtcNode();
  await rm(dir, { recursive: true, force: true });
});

test.each([
  { input: 'plain.flv', treatment: 'passthrough', path: 'SRTP', localMedia: undefined },
  { input: 'plain.flv', treatment: 'passthrough', path: 'memory', localMedia: new LocalMedia() },
  { input: 'bframes.flv', treatment: 'transcode: B-frames', path: 'SRTP', localMedia: undefined },
])("LiveKit's Rust client sees and hears $input ($treatment, by $path)", async (example) => {
  const { input, treatment, localMedia } = example;
  // SFU and ingress share a process as in `npm start`, or SRTP carries the media.
  stage = await startRtmpStage(localMedia === undefined ? {} : { localMedia });
  const viewer = await stage.viewer();
  stage.push(path.join(dir, input), { loops: -1 });
  await stage.harness.stateThat(({ status }) => status === ENDPOINT_PUBLISHING);
  const { frames, sound } = viewer;
  const flashes = (): number => onsets(frames.map(({ flash }) => flash));
  const beeps = (): number => onsets(sound.map(({ beep }) => beep));
  await viewer.until(() => frames.length >= 90 && flashes() >= 2 && beeps() >= 2);

  expect(viewer.attributesOf('obs')['sluice.ingress.video']).toBe(treatment);
  expect(frames[0]).toMatchObject({ width: PICTURE.width, height: PICTURE.height });
  const codes = frames.map(({ barcode }) => barcode);
  expect(new Set(codes).size).toBeGreaterThanOrEqual(85);
  const steps = codes.slice(1).map((code, i) => code - (codes[i] ?? 0));
  // In order, but for the one step back when the looped file starts again.
  expect(steps.filter((step) => step < 0).length).toBeLessThanOrEqual(
    Math.ceil(codes.length / (30 * SECONDS)),
  );
  expect(sound.some(({ rms }) => rms < 0.001)).toBe(true); // there is silence between the beeps
});

test('the room shows an ingress participant with named tracks, and no one after the encoder has gone', async () => {
  stage = await startRtmpStage();
  const viewer = await stage.viewer();
  const encoder = stage.push(path.join(dir, 'plain.flv'), { loops: -1 });
  await viewer.until(() => viewer.frames.length > 0 && viewer.sound.length > 0);
  const { participants } = await stage.sfu.bus.request(RoomInternal.listParticipants, { room: 'studio' });
  const obs = participants.find(({ identity }) => identity === 'obs');
  expect(obs?.toJson()).toMatchObject({
    name: 'OBS',
    metadata: '{"role":"host"}',
    kind: 'INGRESS',
    attributes: {
      'ingress.ingressID': 'IN_test',
      'ingress.resourceID': expect.stringMatching(/^RT_/) as string,
      'sluice.ingress.video': 'passthrough',
    },
  });
  expect(obs?.tracks.map(({ name, source }) => ({ name, source }))).toEqual(
    expect.arrayContaining([
      { name: 'picture', source: TrackSource.CAMERA },
      { name: 'sound', source: TrackSource.MICROPHONE },
    ]),
  );
  encoder.kill('SIGKILL');
  await expect.poll(() => viewer.participant('obs'), { timeout: 15_000 }).toBeUndefined();
});

test.each(['participant is removed', 'room is deleted'])(
  'when the %s, the encoder is let go',
  async (what) => {
    stage = await startRtmpStage();
    const { sfu, harness } = stage;
    const viewer = await stage.viewer();
    const encoder = stage.push(path.join(dir, 'plain.flv'), { loops: -1 });
    await viewer.until(() => viewer.frames.length > 0);
    const room = 'studio';
    await (what === 'room is deleted'
      ? sfu.bus.request(RoomInternal.deleteRoom, { room })
      : sfu.bus.request(RoomInternal.removeParticipant, { room, identity: 'obs' }));
    const failed = await harness.stateThat(({ status }) => status === ENDPOINT_ERROR);
    expect(failed.error).toBe('room disconnected');
    expect((await encoder.exited).code).not.toBe(0);
  },
);

function onsets(series: readonly boolean[]): number {
  return series.filter((on, i) => on && series[i - 1] === false).length;
}
