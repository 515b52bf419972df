import * as livekit from '@livekit/protocol';
import { ServiceError } from '../base/errors.ts';
import {
  DEFAULT_VIDEO_TARGET,
  scaledBitrateKbps,
  VIDEO_PRESETS,
  type IngressSettings,
  type VideoTarget,
} from '../model/ingress.ts';
import type { TrackSource } from '../model/track.ts';

const SOURCES: Readonly<Record<livekit.TrackSource, TrackSource>> = {
  [livekit.TrackSource.UNKNOWN]: 'unknown',
  [livekit.TrackSource.CAMERA]: 'camera',
  [livekit.TrackSource.MICROPHONE]: 'microphone',
  [livekit.TrackSource.SCREEN_SHARE]: 'screen_share',
  [livekit.TrackSource.SCREEN_SHARE_AUDIO]: 'screen_share_audio',
};

/** LiveKit's defaults filled in. @throws ServiceError failed_precondition when the endpoint cannot be published to. */
export function ingressSettings(info: livekit.IngressInfo): IngressSettings {
  if (info.roomName === '') {
    throw new ServiceError('failed_precondition', 'invalid ingress: no room name');
  }
  const requested = requestedVideo(info.video);
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
      target: requested ?? DEFAULT_VIDEO_TARGET,
      targetIsLimit: requested !== undefined,
    },
  };
}

function requestedVideo(video: livekit.IngressVideoOptions | undefined): VideoTarget | undefined {
  const encoding = video?.encodingOptions;
  switch (encoding?.case) {
    case 'preset':
      return VIDEO_PRESETS[encoding.value];
    case 'options':
      return targetFromOptions(encoding.value);
    case undefined:
      return undefined;
  }
}

/** The largest layer counts: one is published. */
function targetFromOptions(options: livekit.IngressVideoEncodingOptions): VideoTarget {
  if (options.videoCodec === livekit.VideoCodec.VP8) {
    throw new ServiceError(
      'failed_precondition',
      'invalid ingress: VP8 output is not supported; use H264_BASELINE',
    );
  }
  const framerate = options.frameRate > 0 ? options.frameRate : 30;
  const [top] = [...options.layers].sort((a, b) => b.width - a.width);
  if (top === undefined) {
    return { ...DEFAULT_VIDEO_TARGET, framerate, bitrateKbps: 1_700 };
  }
  const { width, height, bitrate } = top;
  const bitrateKbps = bitrate > 0 ? Math.round(bitrate / 1000) : scaledBitrateKbps(width, height, framerate);
  return { width, height, framerate, bitrateKbps };
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
