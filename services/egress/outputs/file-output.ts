import path from 'node:path';
import { messageOf, ServiceError } from '../../base/errors.ts';
import { openFileSink } from '../../media/mux/file-sink.ts';
import { createMuxer } from '../../media/mux/muxer.ts';
import type { Container, Muxer } from '../../media/mux/muxer-types.ts';
import { FILE_KIND_BY_CODEC, type FileKind } from '../../model/egress.ts';
import { expandFilepath } from '../../model/egress-filename.ts';
import type { FileTarget } from '../../model/egress-plan.ts';
import type { EncodedPacket, TrackFormat } from '../../model/packet.ts';
import type { FileSpool } from '../handler-messages.ts';
import { deliverFile } from './file-delivery.ts';
import type { EgressOutput } from './output.ts';
import type { OutputContext } from './output-context.ts';
import { finishSpool } from './spool.ts';

const CONTAINER_BY_KIND: Readonly<Record<FileKind, Container>> = {
  mp4: 'mp4-fragmented',
  webm: 'webm',
  ogg: 'ogg',
};

/** @throws ServiceError unimplemented for a codec no file holds; internal when the work folder cannot be written. */
export async function openFileOutput(context: OutputContext, target: FileTarget): Promise<EgressOutput> {
  const kind = target.kind === 'by_codec' ? kindByCodec(context.formats) : target.kind;
  const file = path.join(context.workDir, `recording.${kind}`);
  const muxer = createMuxer({
    container: CONTAINER_BY_KIND[kind],
    kinds: context.kinds,
    expectedFormats: context.expectedFormats,
    sink: await openFileSink(file),
    logger: context.logger,
    onError: (error) => {
      context.endJob('failure', ServiceError.from(error));
    },
  });
  const storagePath = expandFilepath(target.filepath, context.filenames, kind);
  const spool: FileSpool = { output: 'file', file, kind, storagePath, startedAtMs: context.startedAtMs };
  context.onSpool(spool);
  context.logger.info({ storagePath }, 'recording to file');
  return new FileOutput(context, target, spool, muxer);
}

/**
 * One recording on the local disk, written as it happens and playable at any moment; `finish` turns it into a normal
 * file with an index and stores it.
 */
class FileOutput implements EgressOutput {
  readonly #context: OutputContext;
  readonly #target: FileTarget;
  readonly #spool: FileSpool;
  readonly #muxer: Muxer;

  constructor(context: OutputContext, target: FileTarget, spool: FileSpool, muxer: Muxer) {
    this.#context = context;
    this.#target = target;
    this.#spool = spool;
    this.#muxer = muxer;
  }

  addTrack(format: TrackFormat): void {
    try {
      this.#muxer.addTrack(format);
    } catch (error) {
      const failure = new ServiceError('unimplemented', messageOf(error), { cause: error });
      this.#context.endJob('failure', failure);
    }
  }

  write(packet: EncodedPacket): void {
    this.#muxer.write(packet);
  }

  /** Write errors leave what is on disk as the result. */
  async finish(): Promise<void> {
    const { egress, record, manifest, storages, rescueDir, ffmpegPath, logger, addFailure } = this.#context;
    const { file: spoolFile, kind } = this.#spool;
    await this.#closeMuxer();
    const { durationUs, packets, droppedPackets } = this.#muxer.stats;
    logger.info({ packets, droppedPackets, durationUs }, 'recording written');
    const target = this.#target;
    const storage = storages.for(target.storage);
    try {
      const finished = await finishSpool({ spoolFile, kind, durationUs, ffmpegPath, logger });
      await deliverFile({
        ...{ egress, target, record, manifest, finished, storage, rescueDir, logger },
        spool: this.#spool,
      });
    } catch (error) {
      addFailure(ServiceError.from(error));
    }
  }

  async close(): Promise<void> {
    await this.#closeMuxer();
  }

  async #closeMuxer(): Promise<void> {
    await this.#muxer.finish().catch((error: unknown) => {
      this.#context.logger.error({ err: error }, 'recording was cut short');
    });
  }
}

function kindByCodec(formats: readonly TrackFormat[]): FileKind {
  const codec = formats[0]?.codec ?? '';
  const kind = FILE_KIND_BY_CODEC[codec];
  if (kind === undefined) {
    throw new ServiceError('unimplemented', `track egress of codec ${codec} is not yet supported`);
  }
  return kind;
}
