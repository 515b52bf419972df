import { execFile } from 'node:child_process';
import { stat } from 'node:fs/promises';
import { promisify } from 'node:util';

export type RecordingCheck = {
  what: string;
  file: string;
  facts: string[];
  /** Empty = as expected. */
  problems: string[];
};

export type Expectation = {
  what: string;
  video: string;
  audio: string | undefined;
  width: number;
  height: number;
  minSeconds: number;
};

type ProbedStream = {
  codec_type: string;
  codec_name: string;
  width?: number;
  height?: number;
  nb_read_packets: string;
};
type Probed = { streams: ProbedStream[]; format: { duration?: string; format_name: string } };

/** Looks into a recording with ffprobe and compares it with what was asked for. */
export async function checkRecording(
  ffprobePath: string | undefined,
  file: string,
  expected: Expectation,
): Promise<RecordingCheck> {
  const size = (await stat(file).catch(() => undefined))?.size ?? 0;
  if (size === 0) {
    return { what: expected.what, file, facts: [], problems: ['the file is missing or empty'] };
  }
  const megabytes = `${(size / 1e6).toFixed(1)} MB`;
  if (ffprobePath === undefined) {
    return { what: expected.what, file, facts: [megabytes, 'not looked into: no ffprobe'], problems: [] };
  }
  const { stdout } = await promisify(execFile)(ffprobePath, [
    ...['-v', 'error', '-of', 'json', '-count_packets', '-show_streams', '-show_format', file],
  ]);
  const probed = JSON.parse(stdout) as Probed;
  const video = probed.streams.find((stream) => stream.codec_type === 'video');
  const audio = probed.streams.find((stream) => stream.codec_type === 'audio');
  const seconds = Number(probed.format.duration ?? 0);
  const facts = [
    megabytes,
    `${seconds.toFixed(1)} s`,
    ...(video === undefined
      ? []
      : [`${video.codec_name} ${video.width ?? 0}x${video.height ?? 0}, ${video.nb_read_packets} frames`]),
    ...(audio === undefined ? [] : [audio.codec_name]),
  ];
  const problems = [
    ...mismatch('video codec', video?.codec_name, expected.video),
    ...mismatch('audio codec', audio?.codec_name, expected.audio),
    ...mismatch('size', `${video?.width ?? 0}x${video?.height ?? 0}`, `${expected.width}x${expected.height}`),
    ...(seconds < expected.minSeconds
      ? [`${seconds.toFixed(1)} s long, expected at least ${expected.minSeconds} s`]
      : []),
  ];
  return { what: expected.what, file, facts, problems };
}

function mismatch(what: string, actual: string | undefined, expected: string | undefined): string[] {
  return actual === expected ? [] : [`${what} is ${actual ?? 'none'}, expected ${expected ?? 'none'}`];
}

/** The table at the end of the demo. */
export function demoReport(checks: readonly RecordingCheck[]): string {
  const width = Math.max(...checks.map((check) => check.what.length));
  const lines = checks.flatMap((check) => [
    `  ${check.problems.length === 0 ? 'ok  ' : 'FAIL'}  ${check.what.padEnd(width)}  ${check.facts.join(', ')}`,
    `        ${' '.repeat(width)}  ${check.file}`,
    ...check.problems.map((problem) => `        ${' '.repeat(width)}  ${problem}`),
  ]);
  return `${lines.join('\n')}\n`;
}
