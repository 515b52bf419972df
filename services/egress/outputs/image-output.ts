import { mkdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { unixNs } from '../../base/clock.ts';
import { messageOf, ServiceError } from '../../base/errors.ts';
import { writeStill } from '../../media/ffmpeg/still.ts';
import { MIME_BY_EXTENSION } from '../../model/egress.ts';
import {
  defaultName,
  expandTemplate,
  utcTime,
  withoutKnownExtension,
  type FilenameValues,
} from '../../model/egress-filename.ts';
import type { ImageTarget } from '../../model/egress-plan.ts';
import type { EncodedPacket, TrackFormat } from '../../model/packet.ts';
import { UploadQueue } from '../uploads/upload-queue.ts';
import { folderOf } from './manifest.ts';
import type { EgressOutput } from './output.ts';
import type { OutputContext } from './output-context.ts';
import { rescueFile } from './rescue.ts';

const MAX_WAITING_S = 3600;
/** Pictures that wait for ffmpeg; an interval shorter than one run of it loses some. */
const MAX_UNDECODED = 10;
const ASK_AGAIN_US = 1_000_000;

/** @param index of the output in the request. */
export async function openImageOutput(
  context: OutputContext,
  target: ImageTarget,
  index: number,
): Promise<EgressOutput> {
  const folder = path.join(context.workDir, `images-${index}`);
  await mkdir(folder, { recursive: true });
  const prefix = imagePrefix(target, context.filenames);
  context.logger.info({ prefix, captureIntervalS: target.captureIntervalS }, 'capturing images');
  return new ImageOutput(context, target, index, folder, prefix);
}

/** Path of an image without `_00001.jpeg`. */
export function imagePrefix(target: ImageTarget, values: FilenameValues): string {
  const filled = expandTemplate(target.filenamePrefix, values);
  const withName = filled === '' || filled.endsWith('/') ? filled + defaultName(values) : filled;
  return withoutKnownExtension(withName);
}

export function imageName(
  prefix: string,
  suffix: ImageTarget['suffix'],
  index: number,
  atMs: number,
): string {
  const tails = {
    index: `_${String(index).padStart(5, '0')}`,
    timestamp: `_${utcTime(Math.round(atMs))}`,
    none_overwrite: '',
  };
  return `${prefix}${tails[suffix]}.jpeg`;
}

/** A JPEG of the picture every few seconds: asks for a key frame when one is due and decodes just that. */
class ImageOutput implements EgressOutput {
  readonly #context: OutputContext;
  readonly #target: ImageTarget;
  readonly #index: number;
  readonly #folder: string;
  readonly #prefix: string;
  readonly #queue: UploadQueue;
  /** Written and not stored. */
  readonly #unstored: { file: string; storagePath: string }[] = [];
  #nextUs = -Infinity;
  #askedUs = -Infinity;
  #captured = 0;
  #stored = 0;
  #undecoded = 0;
  #decoding: Promise<void> = Promise.resolve();
  #isClosed = false;

  constructor(context: OutputContext, target: ImageTarget, index: number, folder: string, prefix: string) {
    this.#context = context;
    this.#target = target;
    this.#index = index;
    this.#folder = folder;
    this.#prefix = prefix;
    this.#queue = new UploadQueue({
      maxWaiting: Math.ceil(MAX_WAITING_S / target.captureIntervalS),
      logger: context.logger,
      // The job goes on: what cannot be stored is kept.
      onFailed: () => undefined,
    });
    this.#fillRecord(0n);
  }

  addTrack(format: TrackFormat): void {
    if (format.kind === 'video' && format.codec !== 'h264') {
      const message = `images of ${format.codec} video are not yet supported`;
      this.#context.endJob('failure', new ServiceError('unimplemented', message));
    }
  }

  write(packet: EncodedPacket): void {
    if (packet.kind !== 'video' || this.#isClosed || packet.ptsUs < this.#nextUs) {
      return;
    }
    if (packet.key) {
      this.#plan(packet.ptsUs);
      this.#capture(packet);
    } else if (packet.ptsUs - this.#askedUs > ASK_AGAIN_US) {
      this.#askedUs = packet.ptsUs;
      this.#context.requestKeyframe();
    }
  }

  async finish(): Promise<void> {
    await this.#decoding;
    this.#isClosed = true;
    await this.#queue.finish();
    const { manifest, addFailure } = this.#context;
    const { error } = this.#queue;
    if (error !== undefined) {
      addFailure(await this.#rescue(error));
    } else if (this.#stored === 0) {
      addFailure(new ServiceError('internal', 'no image was captured: no picture arrived before the end'));
    }
    this.#fillRecord(unixNs());
    if (this.#stored > 0 && !this.#target.disableManifest) {
      manifest.addPlace(this.#target.storage, folderOf(this.#prefix));
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#queue.close();
  }

  /** On a fixed grid from the first picture on, so that late key frames do not add up. */
  #plan(ptsUs: number): void {
    const intervalUs = this.#target.captureIntervalS * 1e6;
    const due = this.#nextUs === -Infinity ? ptsUs : this.#nextUs;
    this.#nextUs = due + intervalUs * (1 + Math.floor((ptsUs - due) / intervalUs));
  }

  #capture(packet: EncodedPacket): void {
    const { logger, startedAtMs } = this.#context;
    if (this.#undecoded >= MAX_UNDECODED) {
      logger.warn('image skipped: the one before is still being decoded');
      return;
    }
    const atMs = startedAtMs + packet.ptsUs / 1000;
    const number = this.#captured;
    this.#captured += 1;
    this.#undecoded += 1;
    this.#decoding = this.#decoding.then(async () => {
      try {
        await this.#decode(packet.data, number, atMs);
      } catch (error) {
        logger.warn({ reason: messageOf(error) }, 'image not captured');
      } finally {
        this.#undecoded -= 1;
      }
    });
  }

  async #decode(keyFrame: Uint8Array, number: number, atMs: number): Promise<void> {
    const { ffmpegPath, logger } = this.#context;
    const { width, height, suffix } = this.#target;
    const file = path.join(this.#folder, `${number}.jpeg`);
    await writeStill({ ffmpegPath, keyFrame, width, height, file, logger });
    if ((await stat(file)).size === 0) {
      throw new ServiceError('internal', 'image: ffmpeg wrote nothing');
    }
    const image = { file, storagePath: imageName(this.#prefix, suffix, number, atMs) };
    this.#unstored.push(image);
    this.#queue.add(() => this.#store(image, atMs));
  }

  async #store(image: { file: string; storagePath: string }, atMs: number): Promise<void> {
    const { storages, manifest } = this.#context;
    const { file, storagePath } = image;
    const storage = storages.for(this.#target.storage);
    const { location } = await storage.store({ file, storagePath, mimeType: MIME_BY_EXTENSION.jpeg });
    this.#unstored.splice(this.#unstored.indexOf(image), 1);
    this.#stored += 1;
    this.#fillRecord(0n);
    const timestampNs = BigInt(Math.round(atMs)) * 1_000_000n;
    manifest.addImage({ filename: storagePath, timestampNs, location });
  }

  async #rescue(error: ServiceError): Promise<ServiceError> {
    const { egress, rescueDir } = this.#context;
    const place = path.join(rescueDir, egress.egressId);
    for (const { file, storagePath } of this.#unstored) {
      await rescueFile(file, place, path.posix.basename(storagePath), error);
    }
    const note = `${error.message}; ${this.#unstored.length} images that were not stored are kept at ${place}`;
    return new ServiceError(error.code, note, { blame: error.blame, cause: error });
  }

  #fillRecord(endedAtNs: bigint): void {
    const { record, startedAtMs } = this.#context;
    record.setImages(this.#index, {
      filenamePrefix: this.#prefix,
      images: this.#stored,
      startedAtNs: BigInt(Math.round(startedAtMs)) * 1_000_000n,
      endedAtNs,
    });
  }
}
