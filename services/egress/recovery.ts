import { messageOf } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import { probeFile } from '../media/ffmpeg/probe-file.ts';
import type { ValidatedEgress } from '../model/egress.ts';
import type { EgressRecord } from './egress-record.ts';
import type { HandlerTools, RecordingSpool } from './handler-messages.ts';
import { deliver } from './outputs/delivery.ts';
import { finishSpool } from './outputs/file-output.ts';
import { createStorage } from './uploads/storage.ts';

export type RecoveryOptions = {
  egress: ValidatedEgress;
  spool: RecordingSpool;
  record: EgressRecord;
  tools: HandlerTools & { ffprobePath: string };
  endedAtNs: bigint;
  rescueDir: string;
  logger: Logger;
};

/** Finishes and stores what a dead handler left on disk. Never rejects: the job has failed already. */
export async function recoverRecording(options: RecoveryOptions): Promise<void> {
  const { egress, spool, record, tools, endedAtNs, rescueDir, logger } = options;
  const storage = createStorage(egress.file.storage);
  try {
    const finished = await finishSpool({
      spoolFile: spool.file,
      kind: spool.kind,
      durationUs: 0,
      ffmpegPath: tools.ffmpegPath,
      logger,
    });
    finished.durationUs = await durationOf(finished.file, tools.ffprobePath);
    await deliver({ egress, record, spool, finished, storage, endedAtNs, rescueDir, logger });
    logger.info({ durationUs: finished.durationUs }, 'recording of a dead handler recovered');
  } catch (error) {
    logger.error({ reason: messageOf(error) }, 'recording of a dead handler could not be recovered');
  } finally {
    storage.close();
  }
}

/** 0 when there is no ffprobe to ask. */
async function durationOf(file: string, ffprobePath: string): Promise<number> {
  return ffprobePath === '' ? 0 : (await probeFile(ffprobePath, file)).durationUs;
}
