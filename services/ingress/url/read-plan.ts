import { ServiceError } from '../../base/errors.ts';
import type { MatroskaTrack } from '../../media/ffmpeg/matroska-reader.ts';
import type { InputStream, ProbedInput } from '../../media/ffmpeg/probe-url.ts';
import type { IngressSettings } from '../../model/ingress.ts';
import { sizeReason } from '../publish/passthrough-decision.ts';
import { isDeliverable } from './media-packet.ts';
import { videoEncoderArgs, videoFilterArgs } from '../publish/video-transcoder-args.ts';

/** What is read of an input, and how. `reason`: why it cannot be passed on as it is; '' = it can. */
export type ReadPlan = {
  video: { stream: InputStream; reason: string } | undefined;
  audio: { stream: InputStream; reason: string } | undefined;
  /** Announcements of advertisements (SCTE 35 in MPEG-TS). */
  splices?: InputStream;
};

type Settings = Pick<IngressSettings, 'video' | 'audio'>;

const COPIED_VIDEO: ReadonlySet<string> = new Set(['h264', 'vp8', 'vp9', 'av1']);
/** Full-range 4:2:0 decodes just as well. */
const COPIED_PIXELS: ReadonlySet<string> = new Set(['yuv420p', 'yuvj420p']);

/** @throws ServiceError invalid_argument when there is nothing to play. */
export function readPlan(input: ProbedInput, settings: Settings): ReadPlan {
  const video = bestVideo(input.streams, settings);
  const audio = soundBeside(video, input.streams);
  if (video === undefined && audio === undefined) {
    throw new ServiceError('invalid_argument', 'the URL has neither picture nor sound', {
      blame: 'destination',
    });
  }
  return {
    video: video && { stream: video, reason: videoReason(video, settings) },
    audio: audio && { stream: audio, reason: audioReason(audio) },
    ...splicesBeside(video ?? audio, input.streams),
  };
}

/** Of several renditions the largest that fits what was asked for, else the smallest. */
function bestVideo(streams: readonly InputStream[], { video }: Settings): InputStream | undefined {
  const found = streams
    .filter((stream) => stream.kind === 'video' && !stream.isCover)
    .sort((a, b) => b.width * b.height - a.width * a.height);
  const limit = { ...video, targetIsLimit: true };
  return found.find((stream) => sizeReason(limit, stream) === undefined) ?? found.at(-1);
}

function soundBeside(
  video: InputStream | undefined,
  streams: readonly InputStream[],
): InputStream | undefined {
  const found = streams.filter(({ kind }) => kind === 'audio');
  const shares = (stream: InputStream): boolean =>
    stream.programs.some((program) => video?.programs.includes(program) === true);
  return found.find(shares) ?? found[0];
}

function splicesBeside(
  main: InputStream | undefined,
  streams: readonly InputStream[],
): Pick<ReadPlan, 'splices'> {
  const splices = streams.find(
    ({ codec, programs }) =>
      codec === 'scte_35' &&
      (programs.length === 0 || programs.some((program) => main?.programs.includes(program) === true)),
  );
  return splices === undefined ? {} : { splices };
}

function videoReason(stream: InputStream, settings: Settings): string {
  if (!COPIED_VIDEO.has(stream.codec)) {
    return `${stream.codec} video`;
  }
  if (!COPIED_PIXELS.has(stream.pixelFormat)) {
    return `${stream.pixelFormat} pictures`;
  }
  if (stream.codec === 'h264' && stream.interlaced) {
    return 'interlaced';
  }
  // The others are shown in the order they come.
  if (stream.codec === 'h264' && stream.reorders) {
    return 'B-frames';
  }
  return sizeReason(settings.video, stream) ?? '';
}

/** What was asked for counts only where Opus has to be made. */
function audioReason({ codec, channels }: InputStream): string {
  if (codec !== 'opus') {
    return `${codec} audio`;
  }
  return channels > 2 ? `${channels} channels` : '';
}

/**
 * Reads the planned streams as fast as they are taken, as Matroska on stdout; splice information, section by section, on
 * file descriptor 3. @param input ends with `-i`.
 */
export function readArgs(input: readonly string[], plan: ReadPlan, settings: Settings): string[] {
  const { video, audio, splices } = plan;
  return [
    ...['-v', 'error', '-nostdin', ...input],
    ...(video === undefined ? [] : mapped(video.stream.index, videoArgs(video.reason === '', settings))),
    ...(audio === undefined ? [] : mapped(audio.stream.index, audioArgs(audio.reason === '', settings))),
    ...MATROSKA_OUT,
    ...(splices === undefined ? [] : [...mapped(splices.index, ['-c', 'copy']), '-f', 'data', 'pipe:3']),
  ];
}

/**
 * First picture and first sound of a live input as they come, untouched but for the sound of MPEG-TS: ffmpeg cannot
 * copy its AAC without knowing before that it is AAC, so it is made Opus at once. @param input ends with `-i`.
 */
export function copyArgs(input: readonly string[], settings: Settings, isTs: boolean): string[] {
  return [
    ...['-v', 'error', '-nostdin', '-fpsprobesize', '2', ...(isTs ? TS_PROBE : LIVE_PROBE), ...input],
    ...['-map', '0:V:0?', '-c:v', 'copy', '-map', '0:a:0?', ...audioArgs(!isTs, settings)],
    ...MATROSKA_OUT,
  ];
}

/** Matroska on stdin: the tracks a session cannot take are encoded, the others copied. */
export function convertArgs(tracks: readonly MatroskaTrack[], settings: Settings): string[] {
  return [
    ...['-v', 'error', '-analyzeduration', '500000', '-f', 'matroska', '-i', 'pipe:0'],
    ...tracks.flatMap((track, index) => {
      const args = track.kind === 'video' ? videoArgs : audioArgs;
      return mapped(index, args(isDeliverable(track), settings));
    }),
    ...MATROSKA_OUT,
  ];
}

function mapped(index: number, args: readonly string[]): string[] {
  return ['-map', `0:${index}`, ...args];
}

function videoArgs(copies: boolean, { video }: Settings): string[] {
  return copies
    ? ['-c:v', 'copy']
    : ['-vsync', '0', ...videoFilterArgs(video.target), ...videoEncoderArgs(video.target)];
}

function audioArgs(copies: boolean, { audio: { channels, bitrateKbps } }: Settings): string[] {
  return copies
    ? ['-c:a', 'copy']
    : [
        ...['-c:a', 'libopus', '-ar', '48000', '-ac', String(channels)],
        ...['-b:a', `${bitrateKbps}k`, '-frame_duration', '20'],
      ];
}

const LIVE_PROBE = ['-analyzeduration', '2000000'] as const;
/** The first program is all: ffmpeg starts as soon as it knows that, at the latest behind a usual pair of key frames. */
const TS_PROBE = ['-analyzeduration', '5000000', '-scan_all_pmts', '0'] as const;

/** A cluster per block: nothing waits for more to come. */
const MATROSKA_OUT = [
  ...['-map_metadata', '-1', '-map_chapters', '-1', '-f', 'matroska'],
  ...['-cluster_time_limit', '0', '-flush_packets', '1', 'pipe:1'],
] as const;
