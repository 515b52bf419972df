import { rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { messageOf, ServiceError } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import { remux } from '../../media/ffmpeg/remux.ts';
import type { FileKind } from '../../model/egress.ts';

export type FinishedFile = { file: string; sizeBytes: number; durationUs: number };

export type FinishSpoolOptions = {
  spoolFile: string;
  kind: FileKind;
  durationUs: number;
  ffmpegPath: string;
  logger: Logger;
};

/**
 * A normal file with duration and index out of a crash-proof one. When that fails, the crash-proof file itself is the
 * recording.
 * @throws ServiceError internal when the spool holds nothing.
 */
export async function finishSpool(options: FinishSpoolOptions): Promise<FinishedFile> {
  const { spoolFile, kind, durationUs, ffmpegPath, logger } = options;
  const spooled = await stat(spoolFile).catch(() => undefined);
  if (spooled === undefined || spooled.size === 0) {
    throw nothingRecorded();
  }
  if (kind === 'ogg') {
    return { file: spoolFile, sizeBytes: spooled.size, durationUs };
  }
  const finalFile = path.join(path.dirname(spoolFile), `final.${kind}`);
  try {
    await remux({ ffmpegPath, inputPath: spoolFile, outputPath: finalFile, container: kind });
    await rename(finalFile, spoolFile);
  } catch (error) {
    await rm(finalFile, { force: true });
    logger.warn({ reason: messageOf(error) }, 'recording kept in its crash-proof form');
  }
  return { file: spoolFile, sizeBytes: (await stat(spoolFile)).size, durationUs };
}

export function nothingRecorded(): ServiceError {
  return new ServiceError('internal', 'nothing was recorded: no media arrived before the end');
}
