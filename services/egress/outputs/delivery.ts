import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { unixNs } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import { MIME_BY_FILE_KIND, type ValidatedEgress } from '../../model/egress.ts';
import type { EgressRecord } from '../egress-record.ts';
import type { RecordingSpool } from '../handler-messages.ts';
import type { Storage } from '../uploads/storage.ts';
import type { FinishedFile } from './file-output.ts';
import { rescueFile } from './rescue.ts';
import { manifestJson } from './manifest.ts';

export type DeliveryOptions = {
  egress: ValidatedEgress;
  record: EgressRecord;
  spool: RecordingSpool;
  finished: FinishedFile;
  storage: Storage;
  endedAtNs: bigint;
  /** Where a recording goes that its storage refuses. */
  rescueDir: string;
  logger: Logger;
};

/**
 * Brings a finished file to where the request wants it, writes the manifest and fills the record.
 * @throws ServiceError of the storage; the message then says where the recording is kept instead.
 */
export async function deliver(options: DeliveryOptions): Promise<void> {
  const { egress, record, spool, finished, endedAtNs, logger } = options;
  const startedAtNs = BigInt(Math.round(spool.startedAtMs)) * 1_000_000n;
  const facts = {
    filename: spool.storagePath,
    location: finished.file,
    sizeBytes: finished.sizeBytes,
    durationUs: Math.round(finished.durationUs),
    startedAtNs,
    endedAtNs,
  };
  record.setFile(facts);
  const startedMs = performance.now();
  const location = await store(options).catch(async (cause: unknown) => {
    const name = `${egress.egressId}.${spool.kind}`;
    const rescued = await rescueFile(finished.file, options.rescueDir, name, cause);
    record.setFile({ ...facts, location: rescued.location });
    throw rescued.error;
  });
  record.setFile({ ...facts, location });
  logger.info(
    { location, sizeBytes: facts.sizeBytes, storeMs: Math.round(performance.now() - startedMs) },
    'recording stored',
  );
  if (!egress.file.disableManifest) {
    await deliverManifest(options, startedAtNs, location);
  }
}

async function store({ storage, finished, spool }: DeliveryOptions): Promise<string> {
  const { location } = await storage.store({
    file: finished.file,
    storagePath: spool.storagePath,
    mimeType: MIME_BY_FILE_KIND[spool.kind],
  });
  return location;
}

async function deliverManifest(
  options: DeliveryOptions,
  startedAtNs: bigint,
  location: string,
): Promise<void> {
  const { egress, record, spool, storage, finished, endedAtNs, logger } = options;
  const { trackId, publisherIdentity, trackType, trackSource } = spool.track;
  const file = path.join(path.dirname(finished.file), 'manifest.json');
  const folder = path.posix.dirname(spool.storagePath);
  const storagePath =
    folder === '.' ? `${egress.egressId}.json` : path.posix.join(folder, `${egress.egressId}.json`);
  try {
    await writeFile(
      file,
      manifestJson({
        egressId: egress.egressId,
        roomId: egress.roomId,
        roomName: egress.roomName,
        startedAtNs,
        endedAtNs: endedAtNs === 0n ? unixNs() : endedAtNs,
        publisherIdentity,
        trackId,
        trackKind: trackType,
        trackSource,
        filename: spool.storagePath,
        location,
      }),
    );
    const stored = await storage.store({ file, storagePath, mimeType: MIME_BY_FILE_KIND.json });
    record.setManifest(stored.location);
  } catch (error) {
    // The recording itself is safe; its description is not worth failing the job.
    logger.error({ err: error }, 'manifest not stored');
  }
}
