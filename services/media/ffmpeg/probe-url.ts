import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { messageOf, ServiceError } from '../../base/errors.ts';
import { redactText } from '../../base/redact.ts';

export type ProbeUrlOptions = {
  ffprobePath: string;
  /** Input options, ending with `-i` and the address. */
  args: readonly string[];
  /** Added to the environment of this process. */
  env: Readonly<Record<string, string>>;
  timeoutMs: number;
  signal: AbortSignal;
};

export type InputStream = {
  index: number;
  kind: 'video' | 'audio' | 'other';
  /** ffmpeg's name. */
  codec: string;
  width: number;
  height: number;
  pixelFormat: string;
  /** Pictures may leave the decoder in another order than they came. */
  reorders: boolean;
  interlaced: boolean;
  /** Frames per second; 0 when not told. */
  framerate: number;
  sampleRateHz: number;
  channels: number;
  /** A cover in a music file. */
  isCover: boolean;
  /** Programs (renditions of a playlist) that have it, by id. */
  programs: number[];
};
/** durationS 0: it does not tell, or never ends. startS: what ffmpeg takes for time 0, on the input's own clock. */
export type ProbedInput = { format: string; durationS: number; startS: number; streams: InputStream[] };

type Stream = {
  index: number;
  codec_type?: string;
  codec_name?: string;
  width?: number;
  height?: number;
  pix_fmt?: string;
  has_b_frames?: number;
  field_order?: string;
  avg_frame_rate?: string;
  sample_rate?: string;
  channels?: number;
  disposition?: { attached_pic?: number };
};
type Program = { program_id: number; streams: { index: number }[] };

const run = promisify(execFile);

/** What a remote input holds. @throws ServiceError unavailable when it cannot be read, with ffprobe's last words. */
export async function probeUrl(options: ProbeUrlOptions): Promise<ProbedInput> {
  const show = ['-v', 'error', '-show_format', '-show_streams', '-show_programs', '-of', 'json'];
  try {
    const { stdout } = await run(options.ffprobePath, [...show, ...options.args], {
      env: { ...process.env, ...options.env },
      timeout: options.timeoutMs,
      signal: options.signal,
      maxBuffer: 4 << 20,
    });
    const { format, streams, programs } = JSON.parse(stdout) as {
      format?: { format_name?: string; duration?: string; start_time?: string };
      streams?: Stream[];
      programs?: Program[];
    };
    return {
      format: format?.format_name ?? '',
      durationS: Number(format?.duration ?? 0) || 0,
      startS: Number(format?.start_time ?? 0) || 0,
      streams: (streams ?? []).map((stream) => streamOf(stream, programs ?? [])),
    };
  } catch (cause) {
    const { stderr = '', killed = false } = cause as { stderr?: string; killed?: boolean };
    const words = killed ? 'no answer in time' : stderr.trim().split('\n').at(-1) || messageOf(cause);
    throw new ServiceError('unavailable', `the URL cannot be played: ${redactText(words).slice(0, 300)}`, {
      blame: 'destination',
      cause,
    });
  }
}

function streamOf(stream: Stream, programs: readonly Program[]): InputStream {
  const { codec_type: type, field_order: fieldOrder = 'unknown' } = stream;
  const [frames = 0, seconds = 0] = (stream.avg_frame_rate ?? '').split('/').map(Number);
  return {
    index: stream.index,
    kind: type === 'video' || type === 'audio' ? type : 'other',
    codec: stream.codec_name ?? '',
    width: stream.width ?? 0,
    height: stream.height ?? 0,
    pixelFormat: stream.pix_fmt ?? '',
    reorders: (stream.has_b_frames ?? 0) > 0,
    interlaced: fieldOrder !== 'progressive' && fieldOrder !== 'unknown',
    framerate: seconds > 0 ? frames / seconds : 0,
    sampleRateHz: Number(stream.sample_rate ?? 0),
    channels: stream.channels ?? 0,
    isCover: stream.disposition?.attached_pic === 1,
    programs: programs
      .filter((program) => program.streams.some(({ index }) => index === stream.index))
      .map((program) => program.program_id),
  };
}
