import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);

export type ProbedStream = {
  nb_frames?: string;
  codec_type: 'video' | 'audio';
  codec_name: string;
  profile?: string;
  width?: number;
  height?: number;
  pix_fmt?: string;
  sample_rate?: string;
  channels?: number;
  avg_frame_rate: string;
  start_time?: string;
  nb_read_packets?: string;
};
export type Probe = {
  format: { format_name: string; duration?: string; size: string };
  streams: ProbedStream[];
};

/** What ffprobe says about a file, with every packet counted. */
export async function ffprobe(file: string): Promise<Probe> {
  const { stdout } = await run(
    'ffprobe',
    ['-v', 'error', '-of', 'json', '-show_format', '-show_streams', '-count_packets', file],
    { maxBuffer: 16_000_000 },
  );
  return JSON.parse(stdout) as Probe;
}

/** @throws Error when there is none. */
export function streamOf(probe: Probe, type: 'video' | 'audio'): ProbedStream {
  const stream = probe.streams.find((candidate) => candidate.codec_type === type);
  if (stream === undefined) {
    throw new Error(`the file has no ${type} stream`);
  }
  return stream;
}

/** MD5 of each packet's payload in decode order; `annexB` turns MP4's H.264 into start codes first. */
export async function packetHashes(
  file: string,
  type: 'video' | 'audio',
  options: { annexB?: boolean } = {},
): Promise<string[]> {
  const filter = options.annexB === true ? ['-bsf:v', 'h264_mp4toannexb'] : [];
  const { stdout } = await run(
    'ffmpeg',
    [
      ...['-v', 'error', '-i', file, '-map', `0:${type[0] ?? 'v'}:0`, '-c', 'copy'],
      ...[...filter, '-f', 'framemd5', '-'],
    ],
    { maxBuffer: 64_000_000 },
  );
  return stdout
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => line.split(',').at(-1)?.trim() ?? '');
}

/** True when the index lies in front of the media (playable while it downloads). */
export async function isFastStart(file: string): Promise<boolean> {
  const { stderr } = await run('ffprobe', ['-v', 'trace', '-i', file], { maxBuffer: 64_000_000 });
  const moov = stderr.indexOf("type:'moov'");
  const mdat = stderr.indexOf("type:'mdat'");
  return moov >= 0 && (mdat < 0 || moov < mdat);
}
