import { ServiceError } from '../base/errors.ts';
import type { FileKind, JobMedia } from './egress.ts';
import { DEFAULT_KEY_FRAME_INTERVAL_S, notSupported, type Encoding, type EncodingWish } from './presets.ts';

/** The formats one encode can feed, by LiveKit's names. */
export type OutputFormat = 'mp4' | 'ogg' | 'mp3' | 'hls' | 'rtmp' | 'srt';
type EncodedAudio = 'aac' | 'opus' | 'mp3';

/** Codecs a format holds, its default first. */
const AUDIO_BY_FORMAT: Readonly<Record<OutputFormat, readonly EncodedAudio[]>> = {
  mp4: ['aac', 'opus'],
  ogg: ['opus'],
  mp3: ['mp3'],
  hls: ['aac'],
  rtmp: ['aac'],
  srt: ['aac'],
};
/** H.264 is the one video codec that is encoded. */
const HOLDS_VIDEO: Readonly<Record<OutputFormat, boolean>> = {
  mp4: true,
  ogg: false,
  mp3: false,
  hls: true,
  rtmp: true,
  srt: true,
};
/** Tried in this order when the request leaves the file type open. */
const DEFAULT_FILES: Readonly<Record<JobMedia, readonly OutputFormat[]>> = {
  audio: ['ogg', 'mp4', 'mp3'],
  video: ['mp4'],
  audio_video: ['mp4'],
};
/** Players of live streams wait this long at most for a picture. */
const STREAM_KEY_FRAME_INTERVAL_S = 4;

export type CodecRequest = {
  media: JobMedia;
  wish: EncodingWish;
  /** 'default' = chosen here; undefined = no file. */
  file: 'default' | OutputFormat | undefined;
  segmentDurationS: number | undefined;
  streams: 'rtmp' | 'srt' | undefined;
};

export type ChosenCodecs = { encoding: Encoding; fileKind: FileKind | undefined };

/**
 * One audio and one video codec for all outputs of a job, and the file type where it was left open.
 * @throws ServiceError invalid_argument with LiveKit's words when there is none; unimplemented for MP3.
 */
export function chooseCodecs(request: CodecRequest): ChosenCodecs {
  const { media, wish, segmentDurationS, streams } = request;
  const others: OutputFormat[] = [
    ...(segmentDurationS === undefined ? [] : (['hls'] as const)),
    ...(streams === undefined ? [] : [streams]),
  ];
  const file = request.file === 'default' ? defaultFile(media, wish, others) : request.file;
  const formats = file === undefined ? others : [file, ...others];
  for (const format of formats) {
    if (media !== 'audio' && !HOLDS_VIDEO[format]) {
      throw incompatible(format, 'h264');
    }
    if (media !== 'video' && wish.audioCodec !== 'default' && !holdsAudio(format, wish.audioCodec)) {
      throw incompatible(format, wish.audioCodec);
    }
  }
  const shared = sharedAudio(formats);
  const [first] = shared;
  if (media !== 'video' && first === undefined) {
    throw new ServiceError('invalid_argument', 'no supported codec is compatible with all outputs');
  }
  if (file === 'mp3' || first === 'mp3') {
    throw notSupported('file_type MP3');
  }
  const audioCodec = wish.audioCodec === 'default' ? (first ?? 'aac') : wish.audioCodec;
  return {
    fileKind: file === 'mp4' || file === 'ogg' ? file : undefined,
    encoding: {
      ...wish,
      audioCodec,
      audioSampleRateHz: audioCodec === 'opus' ? 48_000 : wish.audioSampleRateHz,
      keyFrameIntervalS: keyFrameIntervalS(wish.keyFrameIntervalS, segmentDurationS, streams !== undefined),
    },
  };
}

/** Segments can only be cut at key frames, and whoever joins a stream waits for one. */
function keyFrameIntervalS(
  wished: number,
  segmentDurationS: number | undefined,
  hasStreams: boolean,
): number {
  const needed = [
    wished || (hasStreams ? STREAM_KEY_FRAME_INTERVAL_S : Infinity),
    segmentDurationS ?? Infinity,
  ];
  const shortest = Math.min(...needed);
  return shortest === Infinity ? DEFAULT_KEY_FRAME_INTERVAL_S : shortest;
}

function defaultFile(media: JobMedia, wish: EncodingWish, others: readonly OutputFormat[]): OutputFormat {
  const candidates = DEFAULT_FILES[media];
  const fits = (candidate: OutputFormat): boolean => {
    const shared = sharedAudio([candidate, ...others]);
    return wish.audioCodec === 'default' ? shared.length > 0 : shared.includes(wish.audioCodec);
  };
  return candidates.find(fits) ?? 'mp4';
}

function sharedAudio(formats: readonly OutputFormat[]): EncodedAudio[] {
  const [first, ...others] = formats;
  const codecs: readonly EncodedAudio[] = first === undefined ? ['aac'] : AUDIO_BY_FORMAT[first];
  return codecs.filter((codec) => others.every((format) => holdsAudio(format, codec)));
}

function holdsAudio(format: OutputFormat, codec: EncodedAudio): boolean {
  return AUDIO_BY_FORMAT[format].includes(codec);
}

function incompatible(format: OutputFormat, codec: string): ServiceError {
  return new ServiceError(
    'invalid_argument',
    `format ${format.toUpperCase()} incompatible with codec ${codec.toUpperCase()}`,
  );
}
