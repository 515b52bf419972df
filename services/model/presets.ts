import { ServiceError } from '../base/errors.ts';

/** How the picture and sound of a page are encoded; every value is set. */
export type Encoding = {
  width: number;
  height: number;
  framerate: number;
  videoBitrateKbps: number;
  keyFrameIntervalS: number;
  audioBitrateKbps: number;
  audioSampleRateHz: number;
  audioCodec: 'aac' | 'opus';
  /** H.264; nothing = Main, LiveKit's default. Pages are encoded by Chrome, which decides by itself. */
  videoProfile?: 'baseline' | 'main' | 'high';
};

/** What a request asks of the encoding; the outputs decide what it leaves open. */
export type EncodingWish = Omit<Encoding, 'audioCodec'> & {
  audioCodec: 'default' | 'aac' | 'opus';
  /** 0 = as the outputs need it. */
  keyFrameIntervalS: number;
};

/** Of recordings without streams or segments. */
export const DEFAULT_KEY_FRAME_INTERVAL_S = 4;

function preset(width: number, height: number, framerate: number, videoBitrateKbps: number): EncodingWish {
  return {
    ...{ width, height, framerate, videoBitrateKbps },
    keyFrameIntervalS: 0,
    audioBitrateKbps: 128,
    audioSampleRateHz: 44_100,
    audioCodec: 'default',
  };
}

/** LiveKit's EncodingOptionsPreset, by its number on the wire (PASSTHROUGH = 8 encodes nothing). */
export const PRESETS: readonly EncodingWish[] = [
  preset(1280, 720, 30, 3000),
  preset(1280, 720, 60, 4500),
  preset(1920, 1080, 30, 4500),
  preset(1920, 1080, 60, 6000),
  preset(720, 1280, 30, 3000),
  preset(720, 1280, 60, 4500),
  preset(1080, 1920, 30, 4500),
  preset(1080, 1920, 60, 6000),
];

export const DEFAULT_WISH: EncodingWish = preset(1280, 720, 30, 3000);

/** LiveKit's EncodingOptions as they arrive: 0 = not set. */
export type AdvancedOptions = {
  width: number;
  height: number;
  depth: number;
  framerate: number;
  audioCodec: 'default' | 'opus' | 'aac' | 'mp3';
  audioBitrate: number;
  audioFrequency: number;
  videoBitrate: number;
  keyFrameInterval: number;
};

type Rule = { field: string; value: number; allowed: (value: number) => boolean };

/** OpenH264 in Chrome ends at level 5.2. */
const MAX_PIXELS = 4096 * 2304;

/**
 * Advanced options over LiveKit's defaults.
 * @throws ServiceError invalid_argument naming the first field that is out of range; unimplemented for MP3.
 */
export function encodingFrom(options: AdvancedOptions): EncodingWish {
  const rules: Rule[] = [
    { field: 'width', value: options.width, allowed: isDimension },
    { field: 'height', value: options.height, allowed: isDimension },
    { field: 'depth', value: options.depth, allowed: (value) => [8, 16, 24].includes(value) },
    { field: 'framerate', value: options.framerate, allowed: (value) => value > 0 && value <= 60 },
    { field: 'audio_bitrate', value: options.audioBitrate, allowed: (value) => value >= 8 && value <= 512 },
    {
      field: 'audio_frequency',
      value: options.audioFrequency,
      allowed: (value) => [8000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000].includes(value),
    },
    {
      field: 'video_bitrate',
      value: options.videoBitrate,
      allowed: (value) => value > 0 && value <= 100_000,
    },
    {
      field: 'key_frame_interval',
      value: options.keyFrameInterval,
      allowed: (value) => value > 0 && value <= 60,
    },
  ];
  for (const { field, value, allowed } of rules) {
    if (value !== 0 && !allowed(value)) {
      throw invalidField(field);
    }
  }
  if (options.audioCodec === 'mp3') {
    throw notSupported('audio_codec AC_MP3');
  }
  const encoding: EncodingWish = {
    width: options.width || DEFAULT_WISH.width,
    height: options.height || DEFAULT_WISH.height,
    framerate: options.framerate || DEFAULT_WISH.framerate,
    videoBitrateKbps: options.videoBitrate || DEFAULT_WISH.videoBitrateKbps,
    keyFrameIntervalS: options.keyFrameInterval,
    audioBitrateKbps: options.audioBitrate || DEFAULT_WISH.audioBitrateKbps,
    audioSampleRateHz: options.audioFrequency || DEFAULT_WISH.audioSampleRateHz,
    audioCodec: options.audioCodec,
  };
  if (encoding.width * encoding.height > MAX_PIXELS) {
    throw invalidField('width');
  }
  return encoding;
}

function isDimension(value: number): boolean {
  return value >= 16 && value % 2 === 0;
}

/** LiveKit's text for a field that is missing or out of range. */
export function invalidField(field: string): ServiceError {
  return new ServiceError('invalid_argument', `request has missing or invalid field: ${field}`);
}

/** LiveKit's text for what this version does not do, with a code of its own. */
export function notSupported(field: string): ServiceError {
  return new ServiceError('unimplemented', `${field} is not yet supported`);
}
