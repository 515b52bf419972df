import {
  AudioCodec,
  IngressAudioEncodingPreset,
  IngressInfo,
  IngressVideoEncodingPreset,
  TrackSource,
  VideoCodec,
  VideoQuality,
} from '@livekit/protocol';
import type { PartialMessage } from '@bufbuild/protobuf';
import { expect, test } from 'vitest';
import { ingressSettings } from '../../../services/ingress/ingress-settings.ts';

function settings(info: PartialMessage<IngressInfo>): ReturnType<typeof ingressSettings> {
  return ingressSettings(new IngressInfo({ ingressId: 'IN_1', roomName: 'studio', ...info }));
}

test("an endpoint without options gets LiveKit's defaults, and larger pictures may pass", () => {
  expect(settings({ participantIdentity: 'obs', participantName: 'OBS' })).toEqual({
    ingressId: 'IN_1',
    roomName: 'studio',
    participant: { identity: 'obs', name: 'OBS', metadata: '' },
    audio: { name: '', source: 'unknown', channels: 2, bitrateKbps: 96 },
    video: {
      name: '',
      source: 'unknown',
      target: { width: 1280, height: 720, framerate: 30, bitrateKbps: 1_900 },
      layers: [
        { width: 320, height: 180, bitrateKbps: 237 },
        { width: 640, height: 360, bitrateKbps: 671 },
        { width: 1280, height: 720, bitrateKbps: 1_900 },
      ],
      codec: 'h264',
      targetIsLimit: false,
      mayTranscode: true,
    },
  });
});

test('every preset has its top layer', () => {
  const top = (value: IngressVideoEncodingPreset): unknown =>
    settings({ video: { encodingOptions: { case: 'preset', value } } }).video;
  expect(top(IngressVideoEncodingPreset.H264_540P_25FPS_2_LAYERS)).toMatchObject({
    target: { width: 960, height: 540, framerate: 25, bitrateKbps: 1_000 },
    targetIsLimit: true,
  });
  expect(top(IngressVideoEncodingPreset.H264_1080P_30FPS_1_LAYER_HIGH_MOTION)).toMatchObject({
    target: { width: 1920, height: 1080, bitrateKbps: 4_500 },
  });
});

test('own layers, lowest first; a bitrate left out follows from size and rate', () => {
  const { video } = settings({
    video: {
      name: 'desk',
      source: TrackSource.SCREEN_SHARE,
      encodingOptions: {
        case: 'options',
        value: {
          frameRate: 15,
          layers: [
            { width: 320, height: 180 },
            { width: 1920, height: 1080 },
          ],
        },
      },
    },
  });
  expect(video).toMatchObject({
    name: 'desk',
    source: 'screen_share',
    target: { width: 1920, height: 1080, framerate: 15, bitrateKbps: Math.floor(3_500 * 0.5 ** 0.75) },
    layers: [{ width: 320, bitrateKbps: 141 }, { width: 1920 }],
  });
});

test('layers that are off are none, and bitrates are such that an encoder keeps them', () => {
  const layers = [
    { quality: VideoQuality.OFF, width: 3840, height: 2160 },
    { quality: VideoQuality.HIGH, width: 1280, height: 720, bitrate: 4_000_000_000 },
    { quality: VideoQuality.LOW, width: 320, height: 180, bitrate: 1 },
  ];
  const { video } = settings({ video: { encodingOptions: { case: 'options', value: { layers } } } });
  expect(video.layers).toEqual([
    { width: 320, height: 180, bitrateKbps: 10 },
    { width: 1280, height: 720, bitrateKbps: 500_000 },
  ]);
});

test.each([
  [undefined, 2, 96],
  [{ channels: 0 }, 2, 96],
  [{ channels: 1 }, 1, 64],
  [{ channels: 2 }, 2, 96],
  [{ channels: 1, bitrate: 24_000, disableDtx: true }, 1, 24],
])('audio options %j', (value, channels, bitrateKbps) => {
  const encodingOptions = value === undefined ? {} : { encodingOptions: { case: 'options' as const, value } };
  expect(settings({ audio: encodingOptions }).audio).toMatchObject({ channels, bitrateKbps });
});

test('audio options', () => {
  const mono = IngressAudioEncodingPreset.OPUS_MONO_64KBS;
  expect(settings({ audio: { encodingOptions: { case: 'preset', value: mono } } }).audio).toMatchObject({
    channels: 1,
    bitrateKbps: 64,
  });
  const value = { audioCodec: AudioCodec.OPUS, bitrate: 9_000_000, channels: 2 };
  expect(settings({ audio: { encodingOptions: { case: 'options', value } } }).audio).toMatchObject({
    channels: 2,
    bitrateKbps: 510,
  });
});

test('what cannot be published says why', () => {
  expect(() => settings({ roomName: '' })).toThrow('no room name');
});

test("VP8 is encoded where it is asked for; options without layers get LiveKit's three", () => {
  const value = { videoCodec: VideoCodec.VP8 };
  expect(settings({ video: { encodingOptions: { case: 'options', value } } }).video).toMatchObject({
    codec: 'vp8',
    target: { width: 1280, height: 720, framerate: 30, bitrateKbps: 1_700 },
    layers: [{ width: 320 }, { width: 640 }, { width: 1280 }],
  });
});

test('nothing is transcoded where that is forbidden', () => {
  expect(settings({ enableTranscoding: false }).video.mayTranscode).toBe(false);
});
