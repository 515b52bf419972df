import * as livekit from '@livekit/protocol';
import {
  DEFAULT_WISH,
  encodingFrom,
  invalidField,
  notSupported,
  PRESETS,
  type AdvancedOptions,
  type EncodingWish,
} from '../presets.ts';

export type EncodingCase =
  | { case: 'preset'; value: livekit.EncodingOptionsPreset }
  | { case: 'advanced'; value: livekit.EncodingOptions }
  | { case: undefined; value?: undefined };

const AUDIO_CODECS: readonly AdvancedOptions['audioCodec'][] = ['default', 'opus', 'aac', 'mp3'];
const VIDEO_PROFILES: Readonly<Partial<Record<livekit.VideoCodec, 'baseline' | 'main' | 'high'>>> = {
  [livekit.VideoCodec.H264_BASELINE]: 'baseline',
  [livekit.VideoCodec.H264_MAIN]: 'main',
  [livekit.VideoCodec.H264_HIGH]: 'high',
};

/** @throws ServiceError invalid_argument or unimplemented naming the field. */
export function readEncoding(encoding: EncodingCase): EncodingWish {
  switch (encoding.case) {
    case 'preset': {
      const preset = PRESETS[encoding.value];
      if (preset === undefined) {
        throw invalidField('preset');
      }
      return preset;
    }
    case 'advanced': {
      const { audioCodec: number, videoCodec } = encoding.value;
      const audioCodec = AUDIO_CODECS[number];
      if (audioCodec === undefined) {
        throw invalidField('audio_codec');
      }
      if (videoCodec === livekit.VideoCodec.VP8) {
        throw notSupported('video_codec VP8');
      }
      if (!Object.hasOwn(livekit.VideoCodec, videoCodec)) {
        throw invalidField('video_codec');
      }
      const videoProfile = VIDEO_PROFILES[videoCodec];
      return {
        ...encodingFrom({ ...fieldsOf(encoding.value), audioCodec }),
        ...(videoProfile === undefined ? {} : { videoProfile }),
      };
    }
    case undefined:
      return DEFAULT_WISH;
  }
}

function fieldsOf(options: livekit.EncodingOptions): Omit<AdvancedOptions, 'audioCodec'> {
  const { width, height, depth, framerate, audioBitrate, audioFrequency, videoBitrate, keyFrameInterval } =
    options;
  return { width, height, depth, framerate, audioBitrate, audioFrequency, videoBitrate, keyFrameInterval };
}
