import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { IngressVideoEncodingOptions, IngressVideoOptions, VideoCodec } from 'livekit-server-sdk';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { flashBeepInputs } from '../../fixtures/flash-beep.ts';
import {
  enhancedMessages,
  type EnhancedAudio,
  type EnhancedOptions,
  type EnhancedVideo,
} from '../support/enhanced-rtmp.ts';
import { ffmpeg } from '../support/ffmpeg-encoder.ts';
import {
  messagesOf,
  oneAfterTheOther,
  publishMessages,
  type WireHabits,
} from '../support/generated-encoder.ts';
import { encodeHeAac, expectHeAac, heAacSource, type HeAacForm } from '../support/he-aac.ts';
import {
  startMatrixStage,
  type EndpointOptions,
  type MatrixStage,
  type Seen,
} from '../support/matrix-stage.ts';
import { requireRtmpPeers, RTMP_PEERS, type RtmpPeerName } from '../support/rtmp-peers.ts';
import { selfSigned } from '../support/tls-front.ts';

const FPS = 30;
const PICTURE = { width: 640, height: 360, framesPerSecond: FPS };
const MAX_SKEW_MS = 40;
/** Long enough for a slow start and the recording. */
const SECONDS = 36;
const AAC = ['-c:a', 'aac', '-b:a', '128k', '-ac', '2'];

const x264 = (profile: string, bFrames: number, gopS: number, params = ''): string[] => [
  ...['-c:v', 'libx264', '-preset', 'veryfast', '-profile:v', profile, '-bf', String(bFrames)],
  ...['-g', String(gopS * FPS), '-keyint_min', String(gopS * FPS), '-pix_fmt', 'yuv420p', '-b:v', '800k'],
  ...['-x264-params', `scenecut=0${params}`],
];

const FILMS: Readonly<
  Record<string, { picture?: string[]; sound?: string[]; lateSoundS?: number; size?: object }>
> = {
  'baseline, GOP 2 s': {},
  'baseline, GOP 1 s': { picture: x264('baseline', 0, 1) },
  'baseline, GOP 10 s': { picture: x264('baseline', 0, 10) },
  'main, 2 B-frames': { picture: x264('main', 2, 2) },
  'high, 3 B-frames, open GOP': { picture: x264('high', 3, 2, ':open-gop=1') },
  'high without B-frames': { picture: x264('high', 0, 2) },
  'no sound': { sound: ['-an'] },
  'no picture': { picture: ['-vn'] },
  '44.1 kHz mono': { sound: ['-c:a', 'aac', '-b:a', '64k', '-ac', '1', '-ar', '44100'] },
  'late sound': { lateSoundS: 3 },
  'MP3 sound': { sound: ['-c:a', 'libmp3lame', '-b:a', '128k', '-ac', '2', '-ar', '44100'] },
  smaller: { size: { width: 480, height: 270 } },
};
type FilmName = string;

let folder: string;
let stage: MatrixStage;

beforeAll(async () => {
  requireRtmpPeers();
  folder = await mkdtemp(path.join(tmpdir(), 'sluice-matrix-'));
  for (const [name, { picture, sound = AAC, lateSoundS, size = {} }] of Object.entries(FILMS)) {
    const inputs = flashBeepInputs({ ...PICTURE, ...size, realTime: false });
    const audioAt = inputs.lastIndexOf('-f');
    const late = lateSoundS === undefined ? [] : ['-itsoffset', String(lateSoundS)];
    await ffmpeg([
      ...[...inputs.slice(0, audioAt), ...late, ...inputs.slice(audioAt), '-t', String(SECONDS)],
      ...[...(picture ?? x264('baseline', 0, 2)), ...sound, film(name)],
    ]);
  }
  const { cert, key } = selfSigned();
  const pem = { cert: path.join(folder, 'cert.pem'), key: path.join(folder, 'key.pem') };
  await Promise.all([writeFile(pem.cert, cert), writeFile(pem.key, key)]);
  stage = await startMatrixStage({
    ingress: { rtmps_port: 0, rtmps_cert_file: pem.cert, rtmps_key_file: pem.key },
  });
}, 300_000);

afterAll(async () => {
  await stage.close();
  await rm(folder, { recursive: true, force: true });
});

function film(name: FilmName): string {
  return path.join(folder, `${name.replaceAll(/[^a-z0-9]+/gi, '-')}.flv`);
}

function expectWhole(seen: Seen, treatment: string, has = { picture: true, sound: true }): void {
  console.info(`${expect.getState().currentTestName ?? ''}: ${JSON.stringify(seen)}`);
  if (has.picture) {
    expect(seen.treatment).toBe(treatment);
    expect(seen.uniqueFps).toBeGreaterThan(FPS * 0.95);
    expect(seen.reordered).toBe(0);
    expect(seen.skipped).toBeLessThanOrEqual(2);
  }
  if (has.sound) {
    expect(seen.beepRatio).toBeGreaterThan(0.75);
    // One that began before the recording is cut short, and its onset late.
    expect(seen.beepStepsS.filter((stepS) => Math.abs(stepS - 1) > 0.11)).toEqual([]);
  }
  if (has.picture && has.sound) {
    expect(seen.flashRatio).toBeGreaterThan(0.75);
    expect(Math.abs(seen.skewMs)).toBeLessThanOrEqual(MAX_SKEW_MS);
  }
  expect(seen.webhooks).toEqual(['ingress_started', 'ingress_ended']);
  // Short states can be missed between two looks, and who hangs up without goodbye is waited for a second.
  const walk = seen.statuses.map((status) => status.replace('ENDPOINT_', '')).join(' ');
  expect(walk).toMatch(/^(INACTIVE )?(BUFFERING )?PUBLISHING (BUFFERING )?INACTIVE$/);
}

const PASSES = 'passthrough';
const B_FRAMES = 'transcode: B-frames';

describe('encoders nobody here wrote', () => {
  const cells: [RtmpPeerName, FilmName, string][] = [
    ...(Object.keys(RTMP_PEERS) as RtmpPeerName[]).flatMap((peer): [RtmpPeerName, FilmName, string][] => [
      [peer, 'baseline, GOP 2 s', PASSES],
      [peer, 'main, 2 B-frames', B_FRAMES],
      [peer, 'no sound', PASSES],
    ]),
    ...(['ffmpeg', 'gst rtmp2sink'] as const).flatMap((peer): [RtmpPeerName, FilmName, string][] => [
      [peer, 'baseline, GOP 1 s', PASSES],
      [peer, 'baseline, GOP 10 s', PASSES],
      [peer, 'high without B-frames', PASSES],
      [peer, 'high, 3 B-frames, open GOP', B_FRAMES],
      [peer, 'no picture', PASSES],
      [peer, '44.1 kHz mono', PASSES],
      [peer, 'late sound', PASSES],
    ]),
    // GStreamer's pipeline here is for AAC.
    ...(['ffmpeg', 'curl (librtmp)', 'nginx push'] as const).map((peer): [RtmpPeerName, FilmName, string] => [
      ...([peer, 'MP3 sound', PASSES] as const),
    ]),
  ];
  test.each(cells)('%s: %s (%s)', { timeout: 120_000 }, async (peer, name, treatment) => {
    const has = { picture: name !== 'no picture', sound: name !== 'no sound' };
    const url = (streamKey: string): string => `rtmp://127.0.0.1:${stage.sluice.rtmpPort}/live/${streamKey}`;
    expectWhole(await stage.watch((key) => RTMP_PEERS[peer](film(name), url(key)), has), treatment, has);
  });
});

describe('what the endpoint asks for, plain and over TLS', () => {
  const { H264_BASELINE } = VideoCodec;
  const encodingOptions = new IngressVideoEncodingOptions({
    ...{ videoCodec: H264_BASELINE, frameRate: FPS, layers: [{ width: 320, height: 180, bitrate: 400_000 }] },
  });
  const asked = {
    'as it comes': {
      endpoint: { enableTranscoding: false },
      name: 'high without B-frames',
      treatment: PASSES,
    },
    'no wishes': { endpoint: {}, name: 'baseline, GOP 2 s', treatment: PASSES },
    'a smaller picture': {
      endpoint: {
        video: new IngressVideoOptions({ encodingOptions: { case: 'options', value: encodingOptions } }),
      },
      ...{ name: 'baseline, GOP 2 s', treatment: 'transcode: 640x360 is larger than the requested 320x180' },
    },
  } satisfies Record<string, { endpoint: EndpointOptions; name: FilmName; treatment: string }>;
  const peers = ['ffmpeg', 'gst rtmp2sink'] as const;
  const cells = peers.flatMap((peer) =>
    (['rtmp', 'rtmps'] as const).flatMap((scheme) =>
      (Object.keys(asked) as (keyof typeof asked)[])
        // Seen above.
        .filter((wish) => scheme === 'rtmps' || wish !== 'no wishes')
        .map((wish) => [peer, scheme, wish] as const),
    ),
  );
  test.each(cells)('%s, %s: %s', { timeout: 120_000 }, async (peer, scheme, wish) => {
    const { endpoint, name, treatment } = asked[wish];
    const port = scheme === 'rtmps' ? await stage.port('rtmps') : stage.sluice.rtmpPort;
    const url = (key: string): string => `${scheme}://127.0.0.1:${port}/live/${key}`;
    const seen = await stage.watch((key) => RTMP_PEERS[peer](film(name), url(key)), {}, endpoint);
    expectWhole(seen, treatment);
  });
});

describe('habits on the wire', () => {
  const cells: [string, FilmName, string, WireHabits][] = [
    ['chunks of 128 bytes', 'baseline, GOP 2 s', PASSES, {}],
    ['chunks of 4096 bytes', 'baseline, GOP 2 s', PASSES, { chunkBytes: 4096 }],
    ['chunks of 65536 bytes', 'baseline, GOP 2 s', PASSES, { chunkBytes: 65_536 }],
    ['a clock that wraps', 'baseline, GOP 2 s', PASSES, { startMs: 0xffff_ffff - 6_000 }],
    ['extended timestamps', 'main, 2 B-frames', B_FRAMES, { startMs: 0x0200_0000 }],
    [
      'a clock that jumps an hour ahead',
      'baseline, GOP 2 s',
      PASSES,
      { jump: { atMs: 6_000, byMs: 3_600_000 } },
    ],
    [
      'a clock that jumps back',
      'baseline, GOP 2 s',
      PASSES,
      { startMs: 7_200_000, jump: { atMs: 6_000, byMs: -7_200_000 } },
    ],
    ['chunk streams of two bytes', 'baseline, GOP 2 s', PASSES, { chunkStreams: { audio: 70, video: 300 } }],
    [
      'chunk streams of three bytes',
      'baseline, GOP 2 s',
      PASSES,
      { chunkStreams: { audio: 400, video: 65_000 } },
    ],
    ['aggregates', 'baseline, GOP 2 s', PASSES, { aggregate: true }],
    ['AMF3 commands', 'baseline, GOP 2 s', PASSES, { amf3: true }],
    ['headers twice', 'baseline, GOP 2 s', PASSES, { repeatHeaders: true }],
    ['negative composition times', 'main, 2 B-frames', B_FRAMES, { compositionMs: -100 }],
  ];
  test.each(cells)('%s', { timeout: 120_000 }, async (_habit, name, treatment, habits) => {
    const messages = await messagesOf(film(name));
    const seen = await stage.watch((key) => publishMessages(stage.sluice.rtmpPort, key, messages, habits));
    // Composition times are the picture's own business; all of them moved, the picture is early by as much.
    const skewMs = seen.skewMs + (habits.compositionMs ?? 0);
    expectWhole({ ...seen, skewMs }, treatment);
  });

  test('another picture size in the middle', { timeout: 120_000 }, async () => {
    const [first, second] = await Promise.all([
      messagesOf(film('baseline, GOP 2 s')),
      messagesOf(film('smaller')),
    ]);
    // The change comes while the recorder looks; the counter starts again with it.
    const messages = oneAfterTheOther(
      first.filter(({ timestampMs }) => timestampMs < 9_000),
      second,
    );
    const seen = await stage.watch((key) => publishMessages(stage.sluice.rtmpPort, key, messages));
    expect(seen.reordered).toBeLessThanOrEqual(1);
    expectWhole({ ...seen, reordered: 0 }, PASSES);
  });
});

// VP8, VP9 and AV1 go into no MP4 file: test/interop/rtmp-enhanced.test.ts looks at them with LiveKit's Rust client.
describe('Enhanced RTMP', () => {
  test.each<[EnhancedVideo, EnhancedAudio, RegExp, EnhancedOptions]>([
    ['avc1', 'mp4a', /^passthrough$/, {}],
    ['avc1', 'Opus', /^passthrough$/, { modEx: true, multitrack: 'manyCodecs' }],
    ['hvc1', 'Opus', /^transcode: HEVC/, { multitrack: 'one', metadata: true }],
  ])('%s and %s (%s, %j)', { timeout: 120_000 }, async (video, audio, treatment, form) => {
    const source = [...flashBeepInputs({ ...PICTURE, realTime: false }), '-t', '30'];
    const messages = await enhancedMessages({ source, video, audio, fps: FPS, form });
    const seen = await stage.watch((key) => publishMessages(stage.sluice.rtmpPort, key, messages));
    expect(seen.treatment).toMatch(treatment);
    expectWhole(seen, seen.treatment);
  });
});

// As the encoder configures it, and through ffmpeg.
describe('HE-AAC', () => {
  beforeAll(() =>
    heAacSource(path.join(folder, 'he-aac.mkv'), { width: 640, height: 360, seconds: SECONDS }),
  );

  const forms = (['aac_he', 'aac_he_v2'] as const).flatMap((profile) =>
    (['explicit_hierarchical', 'explicit_sbr', 'implicit'] as const).map((signaling) => ({
      profile,
      signaling,
    })),
  );
  const cells: [HeAacForm, RtmpPeerName | 'as encoded'][] = [
    ...forms.map((form): [HeAacForm, 'as encoded'] => [form, 'as encoded']),
    [{ profile: 'aac_he', signaling: 'explicit_hierarchical' }, 'ffmpeg'],
    [{ profile: 'aac_he_v2', signaling: 'explicit_hierarchical' }, 'ffmpeg'],
  ];
  test.each(cells)('%j, %s', { timeout: 180_000 }, async (form, peer) => {
    const file = film(`${form.profile} ${form.signaling}`);
    await encodeHeAac(path.join(folder, 'he-aac.mkv'), file, form);
    const messages = await messagesOf(file);
    const { rtmpPort } = stage.sluice;
    const seen = await stage.watch(
      (key) =>
        peer === 'as encoded'
          ? publishMessages(rtmpPort, key, messages)
          : RTMP_PEERS[peer](file, `rtmp://127.0.0.1:${rtmpPort}/live/${key}`),
      {},
      {},
      expectHeAac,
    );
    expectWhole(seen, PASSES);
  });
});
