import { rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { messageOf, ServiceError } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import { remux } from '../../media/ffmpeg/remux.ts';
import { openFileSink } from '../../media/mux/file-sink.ts';
import { createMuxer } from '../../media/mux/muxer.ts';
import type { Container, Muxer } from '../../media/mux/muxer-types.ts';
import type { FileKind } from '../../model/egress.ts';
import type { EncodedPacket, TrackFormat } from '../../model/packet.ts';

const CONTAINER_BY_KIND: Readonly<Record<FileKind, Container>> = {
  mp4: 'mp4-fragmented',
  webm: 'webm',
  ogg: 'ogg',
};

export type FileOutputOptions = {
  kind: FileKind;
  kinds: readonly ('video' | 'audio')[];
  expectedFormats: readonly TrackFormat[];
  workDir: string;
  ffmpegPath: string;
  logger: Logger;
  onError: (error: Error) => void;
};

export type FinishedFile = { file: string; sizeBytes: number; durationUs: number };

/**
 * One recording on the local disk, written as it happens and playable at any moment; `finish` turns it into a normal
 * file with an index.
 */
export class FileOutput {
  /** Playable while it grows. */
  readonly spoolFile: string;
  readonly #options: FileOutputOptions;
  readonly #muxer: Muxer;

  private constructor(options: FileOutputOptions, spoolFile: string, muxer: Muxer) {
    this.#options = options;
    this.spoolFile = spoolFile;
    this.#muxer = muxer;
  }

  /** @throws when the work folder cannot be written. */
  static async open(options: FileOutputOptions): Promise<FileOutput> {
    const spoolFile = path.join(options.workDir, `recording.${options.kind}`);
    const muxer = createMuxer({
      container: CONTAINER_BY_KIND[options.kind],
      kinds: options.kinds,
      expectedFormats: options.expectedFormats,
      sink: await openFileSink(spoolFile),
      logger: options.logger,
      onError: options.onError,
    });
    return new FileOutput(options, spoolFile, muxer);
  }

  /** @throws ServiceError unimplemented when the file kind cannot hold the codec. */
  addTrack(format: TrackFormat): void {
    this.#muxer.addTrack(format);
  }

  write(packet: EncodedPacket): void {
    this.#muxer.write(packet);
  }

  /** @throws ServiceError when nothing was recorded; write errors leave what is on disk as the result. */
  async finish(): Promise<FinishedFile> {
    const { kind, logger, ffmpegPath } = this.#options;
    await this.#muxer.finish().catch((error: unknown) => {
      logger.error({ err: error }, 'recording was cut short');
    });
    const { durationUs, packets, droppedPackets } = this.#muxer.stats;
    logger.info({ packets, droppedPackets, durationUs }, 'recording written');
    return finishSpool({ spoolFile: this.spoolFile, kind, durationUs, ffmpegPath, logger });
  }
}

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
    throw new ServiceError('internal', 'nothing was recorded: no media arrived before the end');
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
