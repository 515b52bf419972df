import type { ServiceError } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import type { EndReason, ValidatedEgress } from '../../model/egress.ts';
import type { FilenameValues } from '../../model/egress-filename.ts';
import type { TrackFormat } from '../../model/packet.ts';
import type { EgressRecord } from '../egress-record.ts';
import type { OutputSpool } from '../handler-messages.ts';
import type { StoragePool } from '../uploads/storage-pool.ts';
import type { Manifest } from './manifest.ts';

/** What the outputs of a job share. */
export type OutputContext = {
  egress: ValidatedEgress;
  /** The tracks that will come. */
  kinds: readonly ('video' | 'audio')[];
  /** Formats that are certain before the first packet. */
  expectedFormats: readonly TrackFormat[];
  /** Formats announced so far; for track jobs at least one. */
  formats: readonly TrackFormat[];
  filenames: FilenameValues;
  /** Wall clock of session time 0, unix milliseconds. */
  startedAtMs: number;
  workDir: string;
  /** Keeps recordings that their storage refused. */
  rescueDir: string;
  ffmpegPath: string;
  storages: StoragePool;
  record: EgressRecord;
  manifest: Manifest;
  logger: Logger;
  /** Tells the service what to finish should this process die. */
  onSpool: (spool: OutputSpool) => void;
  requestKeyframe: () => void;
  /** Ends the job now; with an error it ends as FAILED. */
  endJob: (reason: EndReason, error?: ServiceError) => void;
  /** The job goes on, and ends as FAILED with the first of these. */
  addFailure: (error: ServiceError) => void;
};
