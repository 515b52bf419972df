import { unixNs } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import { MIME_BY_EXTENSION, type ValidatedEgress } from '../../model/egress.ts';
import type { FileTarget } from '../../model/egress-plan.ts';
import type { EgressRecord } from '../egress-record.ts';
import type { FileSpool } from '../handler-messages.ts';
import type { Storage } from '../uploads/storage.ts';
import { folderOf, type Manifest } from './manifest.ts';
import { rescueFile } from './rescue.ts';
import type { FinishedFile } from './spool.ts';

export type DeliveryOptions = {
  egress: ValidatedEgress;
  target: FileTarget;
  record: EgressRecord;
  manifest: Manifest;
  spool: FileSpool;
  finished: FinishedFile;
  storage: Storage;
  /** Where a recording goes that its storage refuses. */
  rescueDir: string;
  logger: Logger;
};

/**
 * Brings a finished file to where the request wants it and fills record and manifest.
 * @throws ServiceError of the storage; the message then says where the recording is kept instead.
 */
export async function deliverFile(options: DeliveryOptions): Promise<void> {
  const { egress, target, record, manifest, spool, finished, storage, logger } = options;
  const { storagePath, kind } = spool;
  const facts = {
    filename: storagePath,
    location: finished.file,
    sizeBytes: finished.sizeBytes,
    durationUs: Math.round(finished.durationUs),
    startedAtNs: BigInt(Math.round(spool.startedAtMs)) * 1_000_000n,
    endedAtNs: unixNs(),
  };
  record.setFile(facts);
  const startedMs = performance.now();
  const { location } = await storage
    .store({ file: finished.file, storagePath, mimeType: MIME_BY_EXTENSION[kind] })
    .catch(async (cause: unknown) => {
      const name = `${egress.egressId}.${kind}`;
      const rescued = await rescueFile(finished.file, options.rescueDir, name, cause);
      record.setFile({ ...facts, location: rescued.location });
      throw rescued.error;
    });
  record.setFile({ ...facts, location });
  const storeMs = Math.round(performance.now() - startedMs);
  logger.info({ location, sizeBytes: facts.sizeBytes, storeMs }, 'recording stored');
  manifest.addFile({ filename: storagePath, location });
  if (!target.disableManifest) {
    manifest.addPlace(target.storage, folderOf(storagePath));
  }
}
