import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { TrackSource } from '@livekit/protocol';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { flashBeepInputs, passthroughH264 } from '../../fixtures/flash-beep.ts';
import { RoomInternal } from '../../services/bus/rpc-methods.ts';
import { LocalMedia } from '../../services/media/rtp/local-media.ts';
import { ffmpeg, FfmpegEncoder } from '../support/ffmpeg-encoder.ts';
import {
  ENDPOINT_ERROR,
  ENDPOINT_PUBLISHING,
  startIngressHarness,
  type IngressHarness,
} from '../support/ingress-harness.ts';
import { disposeRtcNode, RtcNodeViewer } from '../support/rtc-node-viewer.ts';
import { API_KEY, API_SECRET, startSfuServer, type SfuServer } from '../support/sfu-server.ts';

const PICTURE = { width: 640, height: 360, framesPerSecond: 30 };
const SECONDS = 6;

let dir: string;
let sfu: SfuServer;
let harness: IngressHarness;
const viewers: RtcNodeViewer[] = [];
const encoders: FfmpegEncoder[] = [];

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
}, 60_000);

afterEach(async () => {
  encoders.splice(0).forEach((encoder) => {
    encoder.kill('SIGKILL');
  });
  await Promise.all(viewers.splice(0).map((viewer) => viewer.close()));
  await harness.close();
  await sfu.close();
});

afterAll(async () => {
  await disposeRtcNode();
  await rm(dir, { recursive: true, force: true });
});

/** `localMedia`: SFU and ingress share a process as in `npm start`; without it SRTP carries the media. */
async function start(localMedia?: LocalMedia): Promise<RtcNodeViewer> {
  const shared = localMedia === undefined ? {} : { localMedia };
  sfu = await startSfuServer({ sfu: shared });
  harness = await startIngressHarness({
    ...shared,
    room: { wsUrl: sfu.wsUrl, apiKey: API_KEY, apiSecret: API_SECRET },
    info: {
      video: { name: 'picture', source: TrackSource.CAMERA },
      audio: { name: 'sound', source: TrackSource.MICROPHONE },
    },
  });
  const viewer = new RtcNodeViewer();
  viewers.push(viewer);
  await viewer.join(sfu.wsUrl, await sfu.joinToken('viewer', 'studio'));
  return viewer;
}

function push(input: string, loop = 0): FfmpegEncoder {
  const encoder = new FfmpegEncoder([
    ...['-re', '-stream_loop', String(loop), '-i', path.join(dir, input), '-c', 'copy', '-f', 'flv'],
    harness.url,
  ]);
  encoders.push(encoder);
  return encoder;
}

test.each([
  { input: 'plain.flv', treatment: 'passthrough', path: 'SRTP', localMedia: undefined },
  { input: 'plain.flv', treatment: 'passthrough', path: 'memory', localMedia: new LocalMedia() },
  { input: 'bframes.flv', treatment: 'transcode: B-frames', path: 'SRTP', localMedia: undefined },
])("LiveKit's Rust client sees and hears $input ($treatment, by $path)", async (example) => {
  const { input, treatment, localMedia } = example;
  const viewer = await start(localMedia);
  push(input, -1);
  await harness.stateThat(({ status }) => status === ENDPOINT_PUBLISHING);
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
  const viewer = await start();
  const encoder = push('plain.flv', -1);
  await viewer.until(() => viewer.frames.length > 0 && viewer.sound.length > 0);
  const { participants } = await sfu.bus.request(RoomInternal.listParticipants, { room: 'studio' });
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
  await expect.poll(() => viewer.participant('obs'), { timeout: 5_000 }).toBeUndefined();
});

test.each(['participant is removed', 'room is deleted'])(
  'when the %s, the encoder is let go',
  async (what) => {
    const viewer = await start();
    const encoder = push('plain.flv', -1);
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
