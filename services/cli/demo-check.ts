import { execFile } from 'node:child_process';
import { stat } from 'node:fs/promises';
import { promisify } from 'node:util';
import { messageOf } from '../base/errors.ts';
import type { Tools } from './tools.ts';

export type Expectation = {
  video?: { codec: string; width: number; height: number };
  audio?: string;
  /** 0 = a still picture. */
  minSeconds: number;
};

export type Finding = {
  facts: string[];
  /** Empty = as expected. */
  problems: string[];
};

type ProbedStream = {
  codec_type: string;
  codec_name: string;
  width?: number;
  height?: number;
  nb_read_frames?: string;
};
type Probed = { streams: ProbedStream[]; format: { duration?: string } };

const run = promisify(execFile);
const MAX_OUTPUT_BYTES = 16_000_000;
/** Of 255 steps of brightness. */
const MIN_CONTRAST = 30;
/** Mean difference of two key frames in steps of brightness; the encoder alone makes up to 0.3, a moving room above 4. */
const MIN_MOTION = 1;
const MIN_PEAK_DB = -50;

/** Decodes a file as a whole and compares what ffprobe and ffmpeg find in it with what was asked for. */
export async function checkMedia(tools: Tools, file: string, expected: Expectation): Promise<Finding> {
  const bytes = (await stat(file).catch(() => undefined))?.size ?? 0;
  if (bytes === 0) {
    return { facts: [], problems: ['the file is missing or empty; is the server on another machine?'] };
  }
  if (tools.ffprobePath === undefined) {
    return { facts: [`${bytes} bytes`, 'not looked into: no ffprobe'], problems: [] };
  }
  try {
    const [streams, content] = await Promise.all([
      checkStreams(tools.ffprobePath, file, expected),
      contentProblems(tools.ffmpegPath, file, expected),
    ]);
    return { facts: streams.facts, problems: [...streams.problems, ...content] };
  } catch (error) {
    return {
      facts: [],
      problems: [`cannot be decoded: ${messageOf(error).trim().split('\n').at(-1) ?? ''}`],
    };
  }
}

async function checkStreams(ffprobePath: string, file: string, expected: Expectation): Promise<Finding> {
  const { stdout } = await run(ffprobePath, [
    ...['-v', 'error', '-of', 'json', '-count_frames', '-show_streams', '-show_format', file],
  ]);
  const probed = JSON.parse(stdout) as Probed;
  const video = probed.streams.find((stream) => stream.codec_type === 'video');
  const audio = probed.streams.find((stream) => stream.codec_type === 'audio');
  const seconds = Number(probed.format.duration ?? 0);
  const frames = Number(video?.nb_read_frames ?? 0);
  const size = `${video?.width ?? 0}x${video?.height ?? 0}`;
  const isStill = expected.minSeconds === 0;
  const wanted = expected.video;
  const facts = [
    ...(video === undefined ? [] : [`${video.codec_name} ${size}`]),
    ...(video === undefined || isStill ? [] : [`${(frames / seconds).toFixed(1)} fps`, `${frames} frames`]),
    ...(audio === undefined ? [] : [audio.codec_name]),
    ...(isStill ? [] : [`${seconds.toFixed(1)} s`]),
  ];
  const problems = [
    ...mismatch('video codec', video?.codec_name, wanted?.codec),
    ...mismatch('audio codec', audio?.codec_name, expected.audio),
    ...(wanted === undefined ? [] : mismatch('size', size, `${wanted.width}x${wanted.height}`)),
    ...(wanted === undefined || frames > 0 ? [] : ['no frame can be decoded']),
    ...(expected.audio === undefined || Number(audio?.nb_read_frames ?? 0) > 0
      ? []
      : ['no sound can be decoded']),
    ...(isStill || seconds >= expected.minSeconds
      ? []
      : [`${seconds.toFixed(1)} s long, expected at least ${expected.minSeconds.toFixed(1)} s`]),
  ];
  return { facts, problems };
}

/** Black, frozen and silent recordings have the right codec, too. Looks at key frames only, which is cheap. */
async function contentProblems(ffmpegPath: string, file: string, expected: Expectation): Promise<string[]> {
  const { stdout, stderr } = await run(
    ffmpegPath,
    [
      ...['-hide_banner', '-nostats', '-nostdin', '-skip_frame', 'nokey', '-i', file],
      ...(expected.video === undefined ? ['-vn'] : ['-vf', 'signalstats,metadata=mode=print:file=-']),
      ...(expected.audio === undefined ? ['-an'] : ['-af', 'volumedetect']),
      ...['-f', 'null', '-'],
    ],
    { maxBuffer: MAX_OUTPUT_BYTES },
  );
  const values = (key: string): number[] =>
    [...stdout.matchAll(new RegExp(`signalstats\\.${key}=([\\d.]+)`, 'g'))].map((match) => Number(match[1]));
  const [brightest, darkest] = [Math.max(...values('YMAX'), 0), Math.min(...values('YMIN'), 255)];
  const differences = values('YDIF').slice(1);
  const peakDb = Number(/max_volume: (-?[\d.]+) dB/.exec(stderr)?.[1] ?? -Infinity);
  return [
    ...(expected.video !== undefined && brightest - darkest < MIN_CONTRAST
      ? ['the picture has a single colour']
      : []),
    ...(differences.length > 0 && Math.max(...differences) < MIN_MOTION ? ['nothing moves'] : []),
    ...(expected.audio !== undefined && peakDb < MIN_PEAK_DB ? ['nothing can be heard'] : []),
  ];
}

function mismatch(what: string, actual: string | undefined, expected: string | undefined): string[] {
  return actual === expected ? [] : [`${what} is ${actual ?? 'none'}, expected ${expected ?? 'none'}`];
}
