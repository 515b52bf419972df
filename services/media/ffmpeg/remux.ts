import ffmpeg from 'fluent-ffmpeg';
import { ServiceError, messageOf } from '../../base/errors.ts';
import { redactText } from '../../base/redact.ts';

export type RemuxOptions = {
  ffmpegPath: string;
  inputPath: string;
  outputPath: string;
  signal?: AbortSignal;
};

/**
 * Copies all packets of a finished MP4 (fragmented or not) into one whose index comes first, so that players and
 * browsers can start before the last byte arrived. Nothing is decoded.
 * @throws ServiceError internal with ffmpeg's own words; canceled when aborted.
 */
export function remuxFaststart(options: RemuxOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    const command = ffmpeg(options.inputPath)
      .setFfmpegPath(options.ffmpegPath)
      .outputOptions(['-map', '0', '-c', 'copy', '-movflags', '+faststart'])
      .format('mp4')
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
