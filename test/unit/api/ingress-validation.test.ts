import type { PartialMessage } from '@bufbuild/protobuf';
import type { IngressAudioOptions } from '@livekit/protocol';
import {
  AudioCodec,
  IngressAudioEncodingOptions,
  IngressInfo,
  IngressInput,
  IngressVideoEncodingOptions,
  IngressVideoOptions,
  TrackSource,
  VideoCodec,
  VideoLayer,
  VideoQuality,
} from '@livekit/protocol';
import { describe, expect, test } from 'vitest';
import { checkIngress } from '../../../services/api/ingress-validation.ts';

const { RTMP_INPUT, WHIP_INPUT, URL_INPUT } = IngressInput;
const layer = (quality: VideoQuality, width: number, height: number): VideoLayer =>
  new VideoLayer({ quality, width, height });
const { LOW, MEDIUM, HIGH, OFF } = VideoQuality;

const VIDEO = 'invalid video parameters:';
const AUDIO = 'invalid audio parameters:';
const BYPASS = 'invalid transcoding bypass configuration:';

function videoOf(info: IngressInfo): IngressVideoOptions {
  return info.video ?? expect.fail('no video');
}

function audioOf(info: IngressInfo): IngressAudioOptions {
  return info.audio ?? expect.fail('no audio');
}

function videoOptions(info: IngressInfo): IngressVideoEncodingOptions {
  const chosen = videoOf(info).encodingOptions;
  return chosen.case === 'options' ? chosen.value : expect.fail('no video options');
}

function audioOptions(info: IngressInfo): IngressAudioEncodingOptions {
  const chosen = audioOf(info).encodingOptions;
  return chosen.case === 'options' ? chosen.value : expect.fail('no audio options');
}

type Step = [message: string, heal: (info: IngressInfo) => void];

/** LiveKit's messages in the order in which it finds the faults, and what heals each. */
const VIDEO_STEPS: readonly Step[] = [
  [`${VIDEO} invalid track source`, (info) => (videoOf(info).source = TrackSource.CAMERA)],
  [
    `${VIDEO} invalid preset`,
    (info) => {
      const value = new IngressVideoEncodingOptions({
        frameRate: -1,
        videoCodec: VideoCodec.H264_HIGH,
        layers: [layer(HIGH, 0, 0)],
      });
      videoOf(info).encodingOptions = { case: 'options', value };
    },
  ],
  [`${VIDEO} invalid framerate`, (info) => (videoOptions(info).frameRate = 30)],
  [`${VIDEO} video codec unsupported`, (info) => (videoOptions(info).videoCodec = VideoCodec.VP8)],
  [
    `${VIDEO} invalid output media dimensions`,
    (info) => (videoOptions(info).layers = [layer(HIGH, 641, 361), layer(HIGH, 640, 360)]),
  ],
  [
    'invalid ingress: layer width must be even',
    (info) => (videoOptions(info).layers = [layer(HIGH, 640, 361), layer(HIGH, 640, 360)]),
  ],
  [
    'invalid ingress: layer height must be even',
    (info) => (videoOptions(info).layers = [layer(HIGH, 640, 360), layer(HIGH, 640, 360)]),
  ],
  [
    `${VIDEO} more than one layer with the same quality level`,
    (info) => (videoOptions(info).layers = [layer(HIGH, 640, 360), layer(LOW, 1280, 720)]),
  ],
  [
    `${VIDEO} video layers do not have increasing height with increasing quality`,
    (info) => (videoOptions(info).layers = [layer(MEDIUM, 640, 360), layer(LOW, 1280, 360)]),
  ],
  [
    `${VIDEO} video layers do not have increasing width with increasing quality`,
    (info) => (videoOptions(info).layers = [layer(HIGH, 640, 360), layer(LOW, 640, 360), layer(OFF, 2, 2)]),
  ],
];

const AUDIO_STEPS: readonly Step[] = [
  [`${AUDIO} invalid track source`, (info) => (audioOf(info).source = TrackSource.MICROPHONE)],
  [
    `${AUDIO} invalid preset`,
    (info) => {
      const value = new IngressAudioEncodingOptions({ audioCodec: AudioCodec.AAC, channels: 3 });
      audioOf(info).encodingOptions = { case: 'options', value };
    },
  ],
  [`${AUDIO} audio codec unsupported`, (info) => (audioOptions(info).audioCodec = AudioCodec.OPUS)],
  [`${AUDIO} invalid audio channel count`, (info) => (audioOptions(info).channels = 2)],
];

const IDENTITY: Step = [
  'invalid ingress: no participant identity',
  (info) => (info.participantIdentity = 'obs'),
];

const URL_STEPS: readonly Step[] = [
  ['invalid ingress: no source URL', (info) => (info.url = 'ftp://media.example/a')],
  ['invalid ingress: invalid url scheme ftp', (info) => (info.url = 'https://media.example/a')],
  ['invalid ingress: no room name', (info) => (info.roomName = 'studio')],
  ['invalid ingress: disabled non reusable ingress', (info) => (info.enabled = true)],
  IDENTITY,
  [
    `${BYPASS} bypassing transcoding impossible with selected input type`,
    (info) => (info.enableTranscoding = true),
  ],
];

/** RTMP may pass through here, so both refuse options for an encoder that does not run. */
const KEY_STEPS: readonly Step[] = [
  IDENTITY,
  [
    `${BYPASS} video encoding options must be empty if transcoding is disabled`,
    (info) => (videoOf(info).encodingOptions = { case: undefined }),
  ],
  [
    `${BYPASS} audio encoding options must be empty if transcoding is disabled`,
    (info) => {
      info.enableTranscoding = true;
      info.video = IngressVideoOptions.fromJson({ source: 'MICROPHONE', preset: 99 });
    },
  ],
];

/** Everything about it is wrong. */
function worst(inputType: number): IngressInfo {
  return IngressInfo.fromJson({
    inputType,
    streamKey: 'key',
    enabled: false,
    enableTranscoding: false,
    video: { source: 'MICROPHONE', preset: 99 },
    audio: { source: 'CAMERA', preset: 99 },
  });
}

test.each([
  ['RTMP', RTMP_INPUT, KEY_STEPS],
  ['WHIP', WHIP_INPUT, KEY_STEPS],
  ['URL', URL_INPUT, URL_STEPS],
])('%s: faults are told in LiveKit’s order and words, one by one', (_name, inputType, first) => {
  const info = worst(inputType);
  for (const [message, heal] of [...first, ...VIDEO_STEPS, ...AUDIO_STEPS]) {
    expect(() => checkIngress(info)).toThrow(expect.objectContaining({ code: 'invalid_argument', message }));
    heal(info);
  }
  expect(() => checkIngress(info)).not.toThrow();
});

test('an input type that does not exist comes before everything else', () => {
  expect(() => checkIngress(worst(7))).toThrow('invalid ingress: unsupported input type');
});

describe('taken as LiveKit takes it', () => {
  const good = { participantIdentity: 'obs', streamKey: 'key' };
  test.each<[string, PartialMessage<IngressInfo>]>([
    ['RTMP without a room', { inputType: RTMP_INPUT }],
    ['WHIP without a room', { inputType: WHIP_INPUT }],
    ['a disabled endpoint', { enabled: false }],
    ['an endpoint that is enabled', { enabled: true }],
    ['empty options', { video: {}, audio: {} }],
    ['every video source', { video: { source: TrackSource.SCREEN_SHARE } }],
    ['every audio source', { audio: { source: TrackSource.SCREEN_SHARE_AUDIO } }],
    ['WHIP with names of tracks alone', { inputType: WHIP_INPUT, video: { name: 'desk' } }],
    [
      'layers of one size',
      {
        video: {
          encodingOptions: {
            case: 'options',
            value: { layers: [layer(HIGH, 640, 480), layer(LOW, 640, 480)] },
          },
        },
      },
    ],
    [
      'as many frames as anybody likes',
      { video: { encodingOptions: { case: 'options', value: { frameRate: 1_000 } } } },
    ],
    [
      'defaults of both codecs',
      {
        video: { encodingOptions: { case: 'options', value: { videoCodec: VideoCodec.DEFAULT_VC } } },
        audio: { encodingOptions: { case: 'options', value: { audioCodec: AudioCodec.DEFAULT_AC } } },
      },
    ],
  ])('%s', (_name, info) => {
    expect(() => checkIngress(new IngressInfo({ ...good, ...info }))).not.toThrow();
  });

  test('a frame rate that is no number is refused', () => {
    for (const frameRate of [Number.NaN, Number.POSITIVE_INFINITY]) {
      const value = { frameRate };
      const info = new IngressInfo({ ...good, video: { encodingOptions: { case: 'options', value } } });
      expect(() => checkIngress(info)).toThrow(`${VIDEO} invalid framerate`);
    }
  });
});
