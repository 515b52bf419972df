import { unixNs } from '../base/clock.ts';
import { messageOf, ServiceError } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import { FILE_KIND_BY_CODEC, type EndReason, type FileKind, type ValidatedEgress } from '../model/egress.ts';
import { expandFilepath, knownFolder, type FilenameValues } from '../model/egress-filename.ts';
import type { EncodedPacket, TrackFormat } from '../model/packet.ts';
import type { EgressRecord } from './egress-record.ts';
import type { HandlerTools, RecordingSpool } from './handler-messages.ts';
import { deliver } from './outputs/delivery.ts';
import { FileOutput } from './outputs/file-output.ts';
import type { CreateSource, OpenedSource } from './sources/create-source.ts';
import type { SourceEnd } from './sources/source-types.ts';
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
  storage: Storage;
  createSource: CreateSource;
  logger: Logger;
  onSpool: (spool: RecordingSpool) => void;
};

type End = { reason: EndReason; error?: Error };

/** One running job: source → file → storage. The record tells how it goes. */
export class EgressSession {
  readonly #options: EgressSessionOptions;
  readonly #opened: OpenedSource;
  readonly #starting = new AbortController();
  readonly #startedAtMs = Date.now();
  readonly #end: Promise<End>;
  #requestEnd: (end: End) => void = () => undefined;
  #kinds: ('video' | 'audio')[] = [];
  #formats: TrackFormat[] = [];
  #held: EncodedPacket[] = [];
  #heldBytes = 0;
  #output: FileOutput | undefined;
  #spool: RecordingSpool | undefined;
  #opening: Promise<void> | undefined;

  constructor(options: EgressSessionOptions) {
    this.#options = options;
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

  /** Proves that the result can be stored. @throws ServiceError of the storage. */
  async prepare(): Promise<void> {
    const { egress, storage } = this.#options;
    await storage.preflight(knownFolder(egress.file.filepath, this.#filenameValues()));
  }

  /** Ends the job; before it is active this aborts it. Idempotent. */
  stop(reason: EndReason): void {
    this.#requestEnd({ reason });
    this.#starting.abort();
  }

  /** Runs to a final state; never rejects. */
  async run(): Promise<void> {
    const { record, logger } = this.#options;
    const { source } = this.#opened;
    try {
      const { kinds } = await source.start(this.#starting.signal);
      this.#kinds = kinds.filter((kind) => this.#opened.wants(kind));
      record.activate();
      this.#openOutput();
      await this.#finish(await this.#end);
    } catch (error) {
      await this.#onStartFailed(error);
    } finally {
      await settleWithin(source.close('egress ended'), SOURCE_STOP_TIMEOUT_MS, logger, 'source close');
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
    } else {
      record.fail(error);
    }
    logger.warn({ err: error }, 'egress did not start');
  }

  async #finish(end: End): Promise<void> {
    const { record, logger, egress, storage, rescueDir } = this.#options;
    const endedAtNs = unixNs();
    record.end(end.reason);
    logger.info({ reason: end.reason }, 'egress ending');
    await settleWithin(this.#opened.source.stop(), SOURCE_STOP_TIMEOUT_MS, logger, 'source stop');
    await this.#opening;
    if (this.#output === undefined || this.#spool === undefined) {
      record.fail(
        end.error ?? new ServiceError('internal', 'nothing was recorded: no media arrived before the end'),
      );
      return;
    }
    try {
      const finished = await this.#output.finish();
      await deliver({ egress, record, spool: this.#spool, finished, storage, endedAtNs, rescueDir, logger });
    } catch (error) {
      record.fail(end.error ?? error);
      return;
    }
    if (end.error === undefined) {
      record.finish(end.reason === 'limit_reached');
    } else {
      record.fail(end.error);
    }
  }

  #onFormat(format: TrackFormat): void {
    if (!this.#opened.wants(format.kind)) {
      return;
    }
    this.#formats.push(format);
    if (this.#output === undefined) {
      this.#openOutput();
    } else {
      this.#announce(format);
    }
  }

  #onPacket(packet: EncodedPacket): void {
    if (!this.#opened.wants(packet.kind)) {
      return;
    }
    if (this.#output !== undefined) {
      this.#output.write(packet);
      return;
    }
    this.#held.push(packet);
    this.#heldBytes += packet.data.length;
    if (this.#heldBytes > MAX_HELD_BYTES) {
      this.#fail(new ServiceError('internal', 'the recording file could not be opened in time'));
    }
  }

  #onSourceEnded(end: SourceEnd): void {
    if (end.reason === 'failed') {
      this.#fail(end.error);
    } else {
      this.#requestEnd({ reason: 'source_closed' });
    }
  }

  #fail(error: Error): void {
    this.#options.logger.error({ err: error }, 'recording failed');
    this.#requestEnd({ reason: 'failure', error });
  }

  /** The file kind of a track follows from its codec, so the file waits for the first format. */
  #openOutput(): void {
    const kind = this.#fileKind();
    if (this.#opening !== undefined || kind === undefined || this.#kinds.length === 0) {
      return;
    }
    this.#opening = this.#open(kind).catch((error: unknown) => {
      this.#fail(ServiceError.from(error));
    });
  }

  #fileKind(): FileKind | undefined {
    const { job } = this.#options.egress;
    if (job.kind === 'template') {
      return job.container;
    }
    const [format] = this.#formats;
    if (format === undefined) {
      return undefined;
    }
    const kind = FILE_KIND_BY_CODEC[format.codec];
    if (kind === undefined) {
      this.#fail(
        new ServiceError('unimplemented', `track egress of codec ${format.codec} is not yet supported`),
      );
    }
    return kind;
  }

  async #open(kind: FileKind): Promise<void> {
    const { egress, workDir, tools, logger, onSpool, record } = this.#options;
    const output = await FileOutput.open({
      kind,
      kinds: this.#kinds,
      expectedFormats: this.#opened.expectedFormats,
      workDir,
      ffmpegPath: tools.ffmpegPath,
      logger,
      onError: (error) => {
        this.#fail(error);
      },
    });
    const storagePath = expandFilepath(egress.file.filepath, this.#filenameValues(), kind);
    this.#spool = {
      file: output.spoolFile,
      kind,
      storagePath,
      startedAtMs: Date.now(),
      track: this.#opened.facts(),
    };
    onSpool(this.#spool);
    logger.info({ storagePath, state: record.state }, 'recording to file');
    this.#output = output;
    for (const format of this.#formats) {
      this.#announce(format);
    }
    for (const packet of this.#held.splice(0)) {
      output.write(packet);
    }
  }

  #announce(format: TrackFormat): void {
    try {
      this.#output?.addTrack(format);
    } catch (error) {
      this.#fail(new ServiceError('unimplemented', messageOf(error), { cause: error }));
    }
  }

  #filenameValues(): FilenameValues {
    const { roomName, roomId } = this.#options.egress;
    return { roomName, roomId, startedAtMs: this.#startedAtMs, ...this.#opened.facts() };
  }
}

async function settleWithin(
  work: Promise<void>,
  timeoutMs: number,
  logger: Logger,
  what: string,
): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<void>((resolve) => {
    timer = setTimeout(() => {
      logger.error({ what, timeoutMs }, 'gave up waiting');
      resolve();
    }, timeoutMs);
  });
  try {
    await Promise.race([
      work.catch((error: unknown) => {
        logger.error({ err: error, what }, 'did not end cleanly');
      }),
      deadline,
    ]);
  } finally {
    clearTimeout(timer);
  }
}
