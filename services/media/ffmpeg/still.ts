import { ServiceError } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import { exitError, spawnFfmpeg } from './run.ts';

const TIMEOUT_MS = 20_000;

export type StillOptions = {
  ffmpegPath: string;
  /** One H.264 key frame, Annex B with its parameter sets. */
  keyFrame: Uint8Array;
  /** 0 = as encoded; one of them alone keeps the shape. */
  width: number;
  height: number;
  /** Written as JPEG. */
  file: string;
  logger: Logger;
};

/** Decodes one picture into a JPEG file in a short run of ffmpeg. @throws ServiceError internal with its words. */
export async function writeStill(options: StillOptions): Promise<void> {
  const { ffmpegPath, keyFrame, width, height, file, logger } = options;
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  const scale =
    width === 0 && height === 0 ? [] : ['-vf', `scale=${width || -1}:${height || -1}:flags=bicubic`];
  const ffmpeg = spawnFfmpeg({
    ffmpegPath,
    args: [
      ...['-v', 'error', '-y', '-threads', '1', '-f', 'h264', '-i', 'pipe:0', '-frames:v', '1', ...scale],
      ...['-pix_fmt', 'yuvj420p', '-threads', '1', '-q:v', '3', '-c:v', 'mjpeg', '-f', 'image2'],
      ...['-update', '1', file],
    ],
    logger,
    signal,
  });
  ffmpeg.stdout.resume();
  ffmpeg.stdin.end(keyFrame);
  const exit = await ffmpeg.exited;
  const error = signal.aborted
    ? new ServiceError('internal', `image: ffmpeg did not end within ${TIMEOUT_MS / 1000} s`)
    : exitError(exit, 'image');
  if (error !== undefined) {
    throw error;
  }
}
