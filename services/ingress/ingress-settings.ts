import * as livekit from '@livekit/protocol';
import { ServiceError } from '../base/errors.ts';
import {
  presetLayers,
  scaledBitrateKbps,
  VIDEO_PRESETS,
  type EncodedVideoCodec,
  type IngressSettings,
  type TargetLayer,
  type VideoPreset,
} from '../model/ingress.ts';
import type { TrackSource } from '../model/track.ts';

const SOURCES: Readonly<Record<livekit.TrackSource, TrackSource>> = {
  [livekit.TrackSource.UNKNOWN]: 'unknown',
  [livekit.TrackSource.CAMERA]: 'camera',
  [livekit.TrackSource.MICROPHONE]: 'microphone',
  [livekit.TrackSource.SCREEN_SHARE]: 'screen_share',
  [livekit.TrackSource.SCREEN_SHARE_AUDIO]: 'screen_share_audio',
};

/** LiveKit's: H264_720P_30FPS_3_LAYERS, and what options without layers get. */
const DEFAULT_PRESET: VideoPreset = {
  width: 1280,
  height: 720,
  framerate: 30,
  bitrateKbps: 1_900,
  layers: 3,
};
const OPTIONS_WITHOUT_LAYERS: VideoPreset = { ...DEFAULT_PRESET, bitrateKbps: 1_700 };
const MAX_LAYERS = 3;
const MIN_KBPS = 10;
const MAX_KBPS = 500_000;

/** LiveKit's defaults filled in. @throws ServiceError failed_precondition when the endpoint cannot be published to. */
export function ingressSettings(info: livekit.IngressInfo): IngressSettings {
  if (info.roomName === '') {
    throw new ServiceError('failed_precondition', 'invalid ingress: no room name');
  }
  const requested = requestedVideo(info.video);
  const { codec, framerate, layers } = requested ?? fromPreset(DEFAULT_PRESET);
  const top = layers.at(-1) ?? DEFAULT_PRESET;
  return {
    ingressId: info.ingressId,
    roomName: info.roomName,
    participant: {
      identity: info.participantIdentity,
      name: info.participantName,
      metadata: info.participantMetadata,
    },
    audio: {
      name: info.audio?.name ?? '',
      source: SOURCES[info.audio?.source ?? livekit.TrackSource.UNKNOWN],
      ...audioEncoding(info.audio),
    },
    video: {
      name: info.video?.name ?? '',
      source: SOURCES[info.video?.source ?? livekit.TrackSource.UNKNOWN],
      target: { width: top.width, height: top.height, bitrateKbps: top.bitrateKbps, framerate },
      layers,
      codec,
      targetIsLimit: requested !== undefined,
      mayTranscode: info.enableTranscoding !== false,
    },
  };
}

type VideoRequest = { codec: EncodedVideoCodec; framerate: number; layers: readonly TargetLayer[] };

function requestedVideo(video: livekit.IngressVideoOptions | undefined): VideoRequest | undefined {
  const encoding = video?.encodingOptions;
  switch (encoding?.case) {
    case 'preset':
      return fromPreset(VIDEO_PRESETS[encoding.value] ?? DEFAULT_PRESET);
    case 'options':
      return fromOptions(encoding.value);
    case undefined:
      return undefined;
  }
}

function fromPreset(preset: VideoPreset): VideoRequest {
  return { codec: 'h264', framerate: preset.framerate, layers: presetLayers(preset) };
}

function fromOptions(options: livekit.IngressVideoEncodingOptions): VideoRequest {
  const framerate = options.frameRate > 0 ? options.frameRate : 30;
  const codec = options.videoCodec === livekit.VideoCodec.VP8 ? 'vp8' : 'h264';
  const layers = options.layers
    .filter(({ quality }) => quality <= livekit.VideoQuality.HIGH)
    .sort((a, b) => a.width - b.width || a.quality - b.quality)
    .slice(-MAX_LAYERS)
    .map(({ width, height, bitrate }) => ({
      width,
      height,
      bitrateKbps: encodableKbps(
        bitrate > 0 ? Math.round(bitrate / 1000) : scaledBitrateKbps(width, height, framerate),
      ),
    }));
  return { codec, framerate, layers: layers.length > 0 ? layers : presetLayers(OPTIONS_WITHOUT_LAYERS) };
}

/** Encoders take 0 for "as much as it takes", and no more bits a second than fit 31 bits. */
function encodableKbps(bitrateKbps: number): number {
  return Math.min(Math.max(bitrateKbps, MIN_KBPS), MAX_KBPS);
}

function audioEncoding(audio: livekit.IngressAudioOptions | undefined): {
  channels: 1 | 2;
  bitrateKbps: number;
} {
  const encoding = audio?.encodingOptions;
  if (encoding?.case === 'options') {
    const channels = encoding.value.channels === 1 ? 1 : 2;
    const bitrateKbps = Math.round(encoding.value.bitrate / 1000) || (channels === 1 ? 64 : 96);
    return { channels, bitrateKbps: Math.min(Math.max(bitrateKbps, 6), 510) };
  }
  const mono =
    encoding?.case === 'preset' && encoding.value === livekit.IngressAudioEncodingPreset.OPUS_MONO_64KBS;
  return mono ? { channels: 1, bitrateKbps: 64 } : { channels: 2, bitrateKbps: 96 };
}
