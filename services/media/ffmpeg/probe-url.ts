import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { messageOf, ServiceError } from '../../base/errors.ts';
import { redactText } from '../../base/redact.ts';
import type { ProbedFile } from './probe-file.ts';

export type ProbeUrlOptions = {
  ffprobePath: string;
  /** Input options, ending with `-i` and the address. */
  args: readonly string[];
  /** Added to the environment of this process. */
  env: Readonly<Record<string, string>>;
  timeoutMs: number;
  signal: AbortSignal;
};

type Stream = {
  codec_type?: string;
  codec_name?: string;
  width?: number;
  height?: number;
  sample_rate?: string;
  channels?: number;
};

const run = promisify(execFile);

/** What a remote input holds. @throws ServiceError unavailable when it cannot be read, with ffprobe's last words. */
export async function probeUrl(options: ProbeUrlOptions): Promise<ProbedFile> {
  const show = ['-v', 'error', '-show_format', '-show_streams', '-of', 'json'];
  try {
    const { stdout } = await run(options.ffprobePath, [...show, ...options.args], {
      env: { ...process.env, ...options.env },
      timeout: options.timeoutMs,
      signal: options.signal,
      maxBuffer: 1 << 20,
    });
    const { format, streams } = JSON.parse(stdout) as {
      format?: { format_name?: string; duration?: string };
      streams?: Stream[];
    };
    return {
      format: format?.format_name ?? '',
      durationUs: Math.round(Number(format?.duration ?? 0) * 1e6) || 0,
      sizeBytes: 0,
      streams: (streams ?? []).map((stream) => ({
        kind: stream.codec_type === 'video' || stream.codec_type === 'audio' ? stream.codec_type : 'other',
        codec: stream.codec_name ?? '',
        width: stream.width ?? 0,
        height: stream.height ?? 0,
        sampleRateHz: Number(stream.sample_rate ?? 0),
        channels: stream.channels ?? 0,
      })),
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
