import path from 'node:path';
import { messageOf } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import { probeFile } from '../media/ffmpeg/probe-file.ts';
import type { ValidatedEgress } from '../model/egress.ts';
import type { EgressRecord } from './egress-record.ts';
import type { FileSpool, HandlerTools, OutputSpool, TrackFacts } from './handler-messages.ts';
import { deliverFile } from './outputs/file-delivery.ts';
import { Manifest } from './outputs/manifest.ts';
import { recoverSegments } from './outputs/segment-recovery.ts';
import { finishSpool } from './outputs/spool.ts';
import { createStorage } from './uploads/storage.ts';
import { StoragePool } from './uploads/storage-pool.ts';

export type RecoveryOptions = {
  egress: ValidatedEgress;
  spools: readonly OutputSpool[];
  track: TrackFacts;
  record: EgressRecord;
  tools: HandlerTools & { ffprobePath: string };
  workDir: string;
  rescueDir: string;
  logger: Logger;
};

type Recovery = RecoveryOptions & { storages: StoragePool; manifest: Manifest };

/** Finishes and stores what a dead handler left on disk. Never rejects: the job has failed already. */
export async function recoverOutputs(options: RecoveryOptions): Promise<void> {
  const { egress, record, spools, track, workDir, logger } = options;
  const storages = new StoragePool(createStorage);
  const manifest = new Manifest();
  try {
    for (const spool of spools) {
      try {
        await recover({ ...options, storages, manifest }, spool);
      } catch (error) {
        const fields = { output: spool.output, reason: messageOf(error) };
        logger.error(fields, 'recording of a dead handler could not be recovered');
      }
    }
    await manifest.deliver({ egress, facts: track, record, storages, workDir, logger });
  } finally {
    storages.close();
  }
}

async function recover(options: Recovery, spool: OutputSpool): Promise<void> {
  if (spool.output === 'file') {
    await recoverFile(options, spool);
    return;
  }
  const { egress, record, manifest, storages, tools, rescueDir, logger } = options;
  const { segments: target } = egress.outputs;
  if (target !== undefined) {
    await recoverSegments({
      ...{ target, spool, record, manifest, logger },
      storage: storages.for(target.storage),
      ffprobePath: tools.ffprobePath,
      rescueDir: path.join(rescueDir, egress.egressId),
    });
  }
}

async function recoverFile(options: Recovery, spool: FileSpool): Promise<void> {
  const { egress, record, tools, storages, manifest, rescueDir, logger } = options;
  const { file: target } = egress.outputs;
  if (target === undefined) {
    return;
  }
  const finished = await finishSpool({
    spoolFile: spool.file,
    kind: spool.kind,
    durationUs: 0,
    ffmpegPath: tools.ffmpegPath,
    logger,
  });
  finished.durationUs = await durationOf(finished.file, tools.ffprobePath);
  const storage = storages.for(target.storage);
  await deliverFile({ egress, target, record, manifest, spool, finished, storage, rescueDir, logger });
  logger.info({ durationUs: finished.durationUs }, 'recording of a dead handler recovered');
}

/** 0 when there is no ffprobe to ask. */
async function durationOf(file: string, ffprobePath: string): Promise<number> {
  return ffprobePath === '' ? 0 : (await probeFile(ffprobePath, file)).durationUs;
}
