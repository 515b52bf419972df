import ffmpeg from 'fluent-ffmpeg';
import { ServiceError, messageOf } from '../../base/errors.ts';
import { redactText } from '../../base/redact.ts';

export type RemuxOptions = {
  ffmpegPath: string;
  inputPath: string;
  outputPath: string;
  container: 'mp4' | 'webm';
  signal?: AbortSignal;
};

const OUTPUT_OPTIONS = {
  mp4: ['-movflags', '+faststart'],
  webm: [],
} as const;

/**
 * Copies all packets of a crash-proof recording (fragmented MP4, WebM without index) into a file with duration and
 * index; in MP4 the index comes first, so that browsers can start before the last byte arrived. Nothing is decoded.
 * @throws ServiceError internal with ffmpeg's own words; canceled when aborted.
 */
export function remux(options: RemuxOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    const command = ffmpeg(options.inputPath)
      .setFfmpegPath(options.ffmpegPath)
      .outputOptions(['-map', '0', '-c', 'copy', ...OUTPUT_OPTIONS[options.container]])
      .format(options.container)
      .output(options.outputPath);
    const onAbort = (): void => {
      command.kill('SIGKILL');
    };
    const settle = (): void => options.signal?.removeEventListener('abort', onAbort);
    command
      .on('end', () => {
        settle();
        resolve();
      })
      .on('error', (error: unknown, _stdout: unknown, stderr: unknown) => {
        settle();
        reject(remuxError(options, error, stderr));
      });
    if (options.signal?.aborted === true) {
      reject(remuxError(options, 'aborted', ''));
      return;
    }
    options.signal?.addEventListener('abort', onAbort, { once: true });
    command.run();
  });
}

function remuxError(options: RemuxOptions, error: unknown, stderr: unknown): ServiceError {
  if (options.signal?.aborted === true) {
    return new ServiceError('canceled', `remux of ${options.inputPath} canceled`);
  }
  const lastLine = typeof stderr === 'string' ? stderr.trim().split('\n').at(-1) : undefined;
  return new ServiceError(
    'internal',
    `remux of ${options.inputPath} failed: ${redactText(lastLine || messageOf(error))}`,
    { cause: error },
  );
}
