import { ServiceError } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import type { EndReason, StorageTarget, ValidatedEgress } from '../model/egress.ts';
import type { FilenameValues } from '../model/egress-filename.ts';
import type { EncodedPacket, TrackFormat } from '../model/packet.ts';
import type { EgressRecord } from './egress-record.ts';
import type { HandlerTools, OutputSpool, TrackFacts } from './handler-messages.ts';
import { createOutputs, type JobOutputs } from './outputs/create-outputs.ts';
import { Manifest } from './outputs/manifest.ts';
import { filenameValues, foldersOf } from './outputs/output-names.ts';
import { segmentNames } from './outputs/segment-names.ts';
import { nothingRecorded } from './outputs/spool.ts';
import { settleWithin } from './settle-within.ts';
import type { CreateSource, OpenedSource } from './sources/create-source.ts';
import type { SourceEnd } from './sources/source-types.ts';
import { StoragePool } from './uploads/storage-pool.ts';
import type { Storage } from './uploads/storage.ts';

/** A source that does not let go is given up after this; what it delivered is finished all the same. */
const SOURCE_STOP_TIMEOUT_MS = 15_000;
const MAX_HELD_BYTES = 64_000_000;

export type EgressSessionOptions = {
  egress: ValidatedEgress;
  record: EgressRecord;
  tools: HandlerTools;
  workDir: string;
  rescueDir: string;
  createStorage: (target: StorageTarget) => Storage;
  createSource: CreateSource;
  logger: Logger;
  onSpool: (spool: OutputSpool, track: TrackFacts) => void;
};

type End = { reason: EndReason; error?: ServiceError };

/** One running job: source → outputs → storage, from one encode. The record tells how it goes. */
export class EgressSession {
  readonly #options: EgressSessionOptions;
  readonly #opened: OpenedSource;
  readonly #starting = new AbortController();
  readonly #createdAtMs = Date.now();
  readonly #storages: StoragePool;
  readonly #manifest = new Manifest();
  readonly #failures: ServiceError[] = [];
  readonly #end: Promise<End>;
  #requestEnd: (end: End) => void = () => undefined;
  #kinds: ('video' | 'audio')[] = [];
  #formats: TrackFormat[] = [];
  #held: EncodedPacket[] = [];
  #heldBytes = 0;
  /** Wall clock of the first packet. */
  #firstPacketAtMs: number | undefined;
  #outputs: JobOutputs | undefined;
  #opening: Promise<void> | undefined;

  constructor(options: EgressSessionOptions) {
    this.#options = options;
    this.#storages = new StoragePool(options.createStorage);
    this.#end = new Promise((resolve) => {
      this.#requestEnd = resolve;
    });
    this.#opened = options.createSource(options.egress, options.tools, options.workDir, options.logger);
    const { events } = this.#opened.source;
    events.on('format', (format) => {
      this.#onFormat(format);
    });
    events.on('packet', (packet) => {
      this.#onPacket(packet);
    });
    events.on('ended', (end) => {
      this.#onSourceEnded(end);
    });
  }

  /** Proves that the results can be named and stored. @throws ServiceError naming the field or the storage. */
  async prepare(): Promise<void> {
    const values = this.#filenameValues();
    const { segments } = this.#options.egress.outputs;
    if (segments !== undefined) {
      segmentNames(segments, values);
    }
    const folders = foldersOf(this.#options.egress, values);
    await Promise.all(folders.map(({ storage, folder }) => this.#storages.for(storage).preflight(folder)));
  }

  /** Ends the job; before it is active this aborts it. Idempotent. */
  stop(reason: EndReason): void {
    this.#requestEnd({ reason });
    // A source that runs is stopped in order: what is under way to it still belongs to the recording.
    if (this.#options.record.state === 'starting') {
      this.#starting.abort();
    }
  }

  /** @throws ServiceError invalid_argument for a job without streams, or what the streams refuse. */
  async updateStreams(add: readonly string[], remove: readonly string[]): Promise<void> {
    if (this.#options.egress.outputs.streams === undefined) {
      throw new ServiceError('invalid_argument', 'UpdateStream called on non-streaming egress');
    }
    const streams = this.#outputs?.streams;
    if (streams === undefined) {
      throw new ServiceError('failed_precondition', 'the streams of this egress have not started yet');
    }
    await streams.update(add, remove);
  }

  /** Runs to a final state; never rejects. */
  async run(): Promise<void> {
    const { record, logger } = this.#options;
    const { source } = this.#opened;
    try {
      const { kinds } = await source.start(this.#starting.signal);
      this.#kinds = kinds.filter((kind) => this.#opened.wants(kind));
      record.activate();
      this.#openOutputs();
      await this.#finish(await this.#end);
    } catch (error) {
      await this.#onStartFailed(error);
    } finally {
      await settleWithin(source.close('egress ended'), SOURCE_STOP_TIMEOUT_MS, logger, 'source close');
      await Promise.all((this.#outputs?.all ?? []).map((output) => output.close('egress ended')));
      this.#storages.close();
    }
  }

  async #onStartFailed(error: unknown): Promise<void> {
    const { record, logger } = this.#options;
    if (record.state !== 'starting') {
      logger.error({ err: error }, 'egress failed');
      record.fail(error);
      return;
    }
    if (this.#starting.signal.aborted) {
      const { reason } = await this.#end;
      record.abort(reason === 'stop_requested' ? 'stopped_before_start' : reason);
    } else if (error instanceof ServiceError && error.code === 'failed_precondition') {
      record.abort('no_start_signal', error);
    } else if (error instanceof ServiceError && error.code === 'aborted') {
      record.abort('source_closed', error);
    } else {
      record.fail(error);
    }
    logger.warn({ err: error }, 'egress did not start');
  }

  async #finish(end: End): Promise<void> {
    const { record, logger, egress, workDir } = this.#options;
    record.end(end.reason);
    logger.info({ reason: end.reason }, 'egress ending');
    await settleWithin(this.#opened.source.stop(), SOURCE_STOP_TIMEOUT_MS, logger, 'source stop');
    await this.#opening;
    if (this.#outputs === undefined) {
      record.fail(end.error ?? this.#failures[0] ?? nothingRecorded());
      return;
    }
    await Promise.all(this.#outputs.all.map((output) => output.finish()));
    const facts = this.#opened.facts();
    const storages = this.#storages;
    await this.#manifest.deliver({ egress, facts, record, storages, workDir, logger });
    const error = end.error ?? this.#failures[0];
    if (error === undefined) {
      record.finish(end.reason === 'limit_reached');
    } else {
      record.fail(error);
    }
  }

  #onFormat(format: TrackFormat): void {
    if (!this.#opened.wants(format.kind)) {
      return;
    }
    this.#formats.push(format);
    if (this.#outputs === undefined) {
      this.#openOutputs();
      return;
    }
    for (const output of this.#outputs.all) {
      output.addTrack(format);
    }
  }

  #onPacket(packet: EncodedPacket): void {
    if (!this.#opened.wants(packet.kind)) {
      return;
    }
    this.#firstPacketAtMs ??= Date.now() - packet.ptsUs / 1000;
    if (this.#outputs !== undefined) {
      for (const output of this.#outputs.all) {
        output.write(packet);
      }
      return;
    }
    this.#held.push(packet);
    this.#heldBytes += packet.data.length;
    if (this.#heldBytes > MAX_HELD_BYTES) {
      this.#fail(new ServiceError('internal', 'the outputs could not be opened in time'));
    }
  }

  #onSourceEnded(end: SourceEnd): void {
    if (end.reason === 'failed') {
      this.#fail(ServiceError.from(end.error));
    } else {
      this.#requestEnd({ reason: 'source_closed' });
    }
  }

  #fail(error: ServiceError): void {
    this.#options.logger.error({ err: error }, 'recording failed');
    this.#requestEnd({ reason: 'failure', error });
  }

  /** Where nothing is encoded the file kind follows from the codec, so outputs wait for the first format. */
  #openOutputs(): void {
    const isTrack = this.#options.egress.job.kind === 'track';
    if (this.#opening !== undefined || this.#kinds.length === 0 || (isTrack && this.#formats.length === 0)) {
      return;
    }
    this.#opening = this.#open().catch((error: unknown) => {
      this.#fail(ServiceError.from(error));
    });
  }

  async #open(): Promise<void> {
    const { egress, record, workDir, rescueDir, tools, logger, onSpool } = this.#options;
    const outputs = await createOutputs({
      ...{ egress, record, workDir, rescueDir, logger },
      kinds: this.#kinds,
      expectedFormats: this.#opened.expectedFormats,
      formats: this.#formats,
      filenames: this.#filenameValues(),
      startedAtMs: this.#firstPacketAtMs ?? Date.now(),
      ffmpegPath: tools.ffmpegPath,
      storages: this.#storages,
      manifest: this.#manifest,
      onSpool: (spool) => {
        onSpool(spool, this.#opened.facts());
      },
      requestKeyframe: () => {
        this.#opened.source.requestKeyframe();
      },
      endJob: (reason, error) => {
        if (error === undefined) {
          this.#requestEnd({ reason });
        } else {
          this.#fail(error);
        }
      },
      addFailure: (error) => {
        this.#failures.push(error);
      },
    });
    this.#outputs = outputs;
    for (const output of outputs.all) {
      for (const format of this.#formats) {
        output.addTrack(format);
      }
    }
    for (const packet of this.#held.splice(0)) {
      for (const output of outputs.all) {
        output.write(packet);
      }
    }
  }

  #filenameValues(): FilenameValues {
    return filenameValues(this.#options.egress, this.#opened.facts(), this.#createdAtMs);
  }
}
