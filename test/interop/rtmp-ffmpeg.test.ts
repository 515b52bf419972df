import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { TrackSource } from '@livekit/protocol';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { isKeyframe, NAL_TYPE, nalType, sliceType, splitAnnexB } from '../../services/media/codecs/h264.ts';
import { parseSps } from '../../services/media/codecs/h264-sps.ts';
import { decodeJwt } from 'jose';
import { ffmpeg, FfmpegEncoder } from '../support/ffmpeg-encoder.ts';
import {
  ENDPOINT_BUFFERING,
  ENDPOINT_ERROR,
  ENDPOINT_INACTIVE,
  ENDPOINT_PUBLISHING,
  startIngressHarness,
  STREAM_KEY,
  type IngressHarness,
  type IngressHarnessOptions,
} from '../support/ingress-harness.ts';

let dir: string;
let harness: IngressHarness | undefined;
const encoders: FfmpegEncoder[] = [];

const SECONDS = 3;
const VIDEO = ['-f', 'lavfi', '-i', `testsrc2=size=640x360:rate=30:duration=${SECONDS}`];
const TONE_STEREO = ['-f', 'lavfi', '-i', `sine=frequency=1000:sample_rate=48000:duration=${SECONDS}`];
const TONE_MONO = ['-f', 'lavfi', '-i', `sine=frequency=440:sample_rate=44100:duration=${SECONDS}`];
const X264 = ['-c:v', 'libx264', '-preset', 'veryfast', '-b:v', '800k', '-g', '30', '-pix_fmt', 'yuv420p'];

function file(name: string): string {
  return path.join(dir, name);
}

async function start(options: IngressHarnessOptions = {}): Promise<IngressHarness> {
  harness = await startIngressHarness(options);
  return harness;
}

function push(input: string, url: string, loop = 0): FfmpegEncoder {
  const loops = loop === 0 ? [] : ['-stream_loop', String(loop)];
  const encoder = new FfmpegEncoder(['-re', ...loops, '-i', file(input), '-c', 'copy', '-f', 'flv', url]);
  encoders.push(encoder);
  return encoder;
}

/** What is in a file, as ffmpeg itself takes it apart. */
async function elementaryNals(name: string): Promise<Uint8Array[]> {
  const out = file(`${name}.h264`);
  await ffmpeg([
    '-i',
    file(name),
    '-map',
    '0:v',
    '-c',
    'copy',
    '-bsf:v',
    'h264_mp4toannexb',
    '-f',
    'h264',
    out,
  ]);
  return splitAnnexB(await readFile(out));
}

function slices(nals: readonly Uint8Array[]): string[] {
  return nals
    .filter((nal) => nalType(nal) >= NAL_TYPE.slice && nalType(nal) <= NAL_TYPE.idr)
    .map((nal) => Buffer.from(nal).toString('base64'));
}

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'sluice-rtmp-'));
  const stereo = ['-ac', '2', '-c:a', 'aac', '-b:a', '128k'];
  const baseline = [...X264, '-profile:v', 'baseline'];
  await ffmpeg([...VIDEO, ...TONE_STEREO, ...baseline, ...stereo, file('baseline.flv')]);
  await ffmpeg([
    ...VIDEO,
    ...TONE_STEREO,
    ...X264,
    '-profile:v',
    'main',
    '-bf',
    '2',
    ...stereo,
    file('bframes.flv'),
  ]);
  await ffmpeg([...VIDEO, ...baseline, '-an', file('silent.flv')]);
  await ffmpeg([
    ...VIDEO,
    ...TONE_MONO,
    ...baseline,
    '-ac',
    '1',
    '-c:a',
    'aac',
    '-b:a',
    '64k',
    file('mono.flv'),
  ]);
  await ffmpeg([...TONE_STEREO, '-vn', ...stereo, file('audio-only.flv')]);
}, 240_000);

afterEach(async () => {
  encoders.splice(0).forEach((encoder) => {
    encoder.kill('SIGKILL');
  });
  await harness?.close();
  harness = undefined;
});

afterAll(async () => {
  await rm(dir, { recursive: true, force: true });
});

test('H.264 without B-frames arrives byte for byte, with parameter sets before every key frame', async () => {
  const { room, url, states, stateThat } = await start({
    info: {
      video: { name: 'camera of OBS', source: TrackSource.CAMERA },
      audio: { name: 'sound of OBS', source: TrackSource.MICROPHONE },
    },
  });
  const ended = await push('baseline.flv', url).exited;
  expect(ended).toMatchObject({ code: 0, stderr: '' });
  const final = await stateThat(({ status }) => status === ENDPOINT_INACTIVE);

  const sent = await elementaryNals('baseline.flv');
  const packets = room.packets('video');
  expect(packets).toHaveLength(30 * SECONDS);
  expect(slices(packets.flatMap(({ data }) => splitAnnexB(data)))).toEqual(slices(sent));
  const parameterSets = sent.filter((nal) => nalType(nal) === NAL_TYPE.sps || nalType(nal) === NAL_TYPE.pps);
  for (const { data, key } of packets) {
    const nals = splitAnnexB(data);
    expect(key).toBe(isKeyframe(nals));
    if (key) {
      expect(nals.slice(0, 2).map((nal) => Buffer.from(nal))).toEqual(
        parameterSets.slice(0, 2).map((nal) => Buffer.from(nal)),
      );
    }
  }
  expect(packets.filter(({ key }) => key)).toHaveLength(SECONDS);
  const steps = packets.slice(1).map(({ ptsUs }, i) => ptsUs - (packets[i]?.ptsUs ?? 0));
  expect(Math.min(...steps)).toBeGreaterThanOrEqual(33_000);
  expect(Math.max(...steps)).toBeLessThanOrEqual(34_000);

  expect(room.track('video')?.options).toMatchObject({
    format: { codec: 'h264', width: 640, height: 360 },
    name: 'camera of OBS',
    source: 'camera',
  });
  expect(room.track('audio')?.options).toMatchObject({ name: 'sound of OBS', source: 'microphone' });
  expect(room.attributes).toMatchObject({
    'sluice.ingress.video': 'passthrough',
    'ingress.resourceID': final.resourceId,
  });
  expect(states.map(({ status }) => status)).toEqual(
    expect.arrayContaining([ENDPOINT_BUFFERING, ENDPOINT_PUBLISHING, ENDPOINT_INACTIVE]),
  );
  expect(states[0]?.status).toBe(ENDPOINT_BUFFERING);
  expect(final).toMatchObject({
    error: '',
    roomId: 'RM_fake',
    video: { mimeType: 'video/h264', width: 640, height: 360, framerate: 30 },
    audio: { mimeType: 'audio/aac', channels: 2, sampleRate: 48_000 },
  });
  expect(final.resourceId).toMatch(/^RT_/);
  expect(final.endedAt - final.startedAt).toBeGreaterThan(2_000_000_000n);
  expect(room.left).toEqual(['encoder stopped the stream']);
  expect(room.tracks.every(({ unpublished }) => unpublished)).toBe(true);
});

test('the participant is an ingress that may publish but not subscribe', async () => {
  const { room, url } = await start();
  push('silent.flv', url);
  await room.until(() => room.connections.length > 0);
  const claims = decodeJwt(room.connections[0]?.token ?? '');
  expect(claims).toMatchObject({
    sub: 'obs',
    name: 'OBS',
    metadata: '{"role":"host"}',
    kind: 'ingress',
    attributes: { 'ingress.ingressID': 'IN_test' },
    video: { roomJoin: true, room: 'studio', canPublish: true, canSubscribe: false },
  });
});

test('B-frames are transcoded away, in order and with the reason told', async () => {
  const { room, url, stateThat } = await start();
  await push('bframes.flv', url).exited;
  await stateThat(({ status }) => status === ENDPOINT_INACTIVE);

  expect(room.attributes['sluice.ingress.video']).toBe('transcode: B-frames');
  // The higher of two layers.
  const packets = room.packets('video').filter(({ layer }) => layer === 1);
  expect(packets.length).toBeGreaterThanOrEqual(30 * SECONDS - 2);
  const nals = packets.flatMap(({ data }) => splitAnnexB(data));
  expect(nals.some((nal) => sliceType(nal) === 'B')).toBe(false);
  const sps = nals.find((nal) => nalType(nal) === NAL_TYPE.sps);
  expect(parseSps(sps ?? new Uint8Array())).toMatchObject({ profileIdc: 66, width: 640, height: 360 });
  const times = packets.map(({ ptsUs }) => ptsUs);
  expect(times).toEqual([...times].sort((a, b) => a - b));
  await expectDecodes(
    packets.map(({ data }) => data),
    30 * SECONDS - 2,
  );
});

test('a picture above the requested size is transcoded down to it, at no more than the requested rate', async () => {
  const { room, url, stateThat } = await start({
    info: {
      video: {
        encodingOptions: {
          case: 'options',
          value: { frameRate: 15, layers: [{ width: 320, height: 180, bitrate: 300_000 }] },
        },
      },
    },
  });
  await push('silent.flv', url).exited;
  await stateThat(({ status }) => status === ENDPOINT_INACTIVE);
  expect(room.attributes['sluice.ingress.video']).toBe(
    'transcode: 640x360 is larger than the requested 320x180',
  );
  expect(room.track('video')?.options.format).toMatchObject({ width: 320, height: 180 });
  expect(Math.abs(room.packets('video').length - 15 * SECONDS)).toBeLessThanOrEqual(2);
});

test.each([
  { input: 'silent.flv', video: 30 * SECONDS, audio: 0 },
  { input: 'audio-only.flv', video: 0, audio: 50 * SECONDS },
  { input: 'mono.flv', video: 30 * SECONDS, audio: 50 * SECONDS },
])('$input is published with what it has', async ({ input, video, audio }) => {
  const { room, url, stateThat } = await start();
  await push(input, url).exited;
  const final = await stateThat(({ status }) => status === ENDPOINT_INACTIVE);
  expect(final.error).toBe('');
  expect(room.packets('video')).toHaveLength(video);
  expect(Math.abs(room.packets('audio').length - audio)).toBeLessThanOrEqual(audio === 0 ? 0 : 5);
  expect(room.tracks).toHaveLength(Number(video > 0) + Number(audio > 0));
});

test('sound and picture share one clock', async () => {
  const { room, url, stateThat } = await start();
  await push('mono.flv', url).exited;
  await stateThat(({ status }) => status === ENDPOINT_INACTIVE);
  const first = (kind: 'audio' | 'video'): number => room.packets(kind)[0]?.ptsUs ?? NaN;
  const last = (kind: 'audio' | 'video'): number => room.packets(kind).at(-1)?.ptsUs ?? NaN;
  expect(Math.abs(first('audio') - first('video'))).toBeLessThan(60_000);
  expect(Math.abs(last('audio') - last('video'))).toBeLessThan(100_000);
});

test('wrong and disabled keys get the same refusal, which ffmpeg shows', async () => {
  const { url, room, store } = await start();
  const wrong = await push('silent.flv', url.replace(STREAM_KEY, 'guessed')).exited;
  const info = await store.get('IN_test');
  if (info !== undefined) {
    info.enabled = false;
    await store.put(info);
  }
  const disabled = await push('silent.flv', url).exited;
  expect(wrong.code).not.toBe(0);
  expect(wrong.stderr).toContain('stream key is not valid');
  const serverError = (stderr: string): string[] => stderr.match(/Server error.*/g) ?? [];
  expect(serverError(disabled.stderr)).toEqual(serverError(wrong.stderr));
  expect(room.connections).toHaveLength(0);
});

test('a second encoder on the same key is refused and does not disturb the first', async () => {
  const { room, url, ingress } = await start();
  push('silent.flv', url, -1);
  await room.until(() => room.packets('video').length > 5);
  const second = await push('silent.flv', url).exited;
  expect(second.stderr).toContain('another encoder is already publishing');
  const before = room.packets('video').length;
  await room.until(() => room.packets('video').length > before + 5);
  expect(room.connections).toHaveLength(1);
  expect(ingress.activeIngressIds()).toEqual(['IN_test']);
});

test('an encoder that is killed ends its session cleanly, and can come back at once', async () => {
  const { room, url, stateThat, ingress } = await start();
  const encoder = push('baseline.flv', url, -1);
  await room.until(() => room.packets('video').length > 5 && room.packets('audio').length > 5);
  encoder.kill('SIGKILL');
  const [final, next] = await Promise.all([
    stateThat(({ status }) => status === ENDPOINT_INACTIVE),
    push('baseline.flv', url).exited,
  ]);
  expect(final.error).toBe('');
  expect(next).toMatchObject({ code: 0, stderr: '' });
  await room.until(() => room.left.length === 2);
  expect(room.left[0]).toBe('encoder disconnected');
  expect(room.connections).toHaveLength(2);
  await expect.poll(() => ingress.activeIngressIds(), { timeout: 15_000 }).toEqual([]);
});

test('removal from the room drops the encoder and says so', async () => {
  const { room, url, stateThat } = await start();
  const encoder = push('baseline.flv', url, -1);
  await room.until(() => room.packets('video').length > 5);
  room.events.emit('disconnected', { reason: 'PARTICIPANT_REMOVED' });
  const final = await stateThat(({ status }) => status === ENDPOINT_ERROR);
  expect(final.error).toBe('room disconnected');
  expect((await encoder.exited).code).not.toBe(0);
});

test('a codec that no room takes is refused by its name', async () => {
  await ffmpeg([...VIDEO, '-c:v', 'flv1', file('sorenson.flv')]);
  const { url, stateThat } = await start();
  const encoder = push('sorenson.flv', url);
  const final = await stateThat(({ status }) => status === ENDPOINT_ERROR);
  expect(final.error).toBe('video codec not supported: Sorenson H.263; set the encoder to H.264');
  await encoder.exited;
});

/** Decodes with ffmpeg, errors being failures, and counts the frames that differ from their predecessor. */
async function expectDecodes(accessUnits: readonly Uint8Array[], atLeast: number): Promise<void> {
  const input = file('received.h264');
  const hashes = file('received.md5');
  await writeFile(input, Buffer.concat(accessUnits));
  await ffmpeg(['-xerror', '-i', input, '-f', 'framemd5', hashes]);
  const lines = (await readFile(hashes, 'utf8')).split('\n').filter((line) => /^0,/.test(line));
  const unique = new Set(lines.map((line) => line.split(',').at(-1)));
  expect(unique.size).toBeGreaterThanOrEqual(atLeast);
}
