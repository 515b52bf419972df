import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { messageOf, ServiceError } from '../../base/errors.ts';
import { Segmenter } from '../../media/hls/segmenter.ts';
import type { SegmentTarget } from '../../model/egress-plan.ts';
import type { EncodedPacket, TrackFormat } from '../../model/packet.ts';
import type { SegmentsSpool } from '../handler-messages.ts';
import { Interleaver } from '../streams/interleaver.ts';
import { UploadQueue } from '../uploads/upload-queue.ts';
import type { EgressOutput } from './output.ts';
import type { OutputContext } from './output-context.ts';
import { SegmentDelivery } from './segment-delivery.ts';
import { segmentName, segmentNames } from './segment-names.ts';
import { SegmentSpool, type SpooledSegment } from './segment-spool.ts';

/** Media that may wait for its storage, as LiveKit's `max_upload_queue`. */
const MAX_WAITING_S = 3600;

/** @throws ServiceError invalid_argument for names that do not go together. */
export async function openSegmentOutput(
  context: OutputContext,
  target: SegmentTarget,
): Promise<EgressOutput> {
  const names = segmentNames(target, context.filenames);
  const folder = path.join(context.workDir, 'segments');
  await mkdir(folder, { recursive: true });
  const { startedAtMs } = context;
  const spool: SegmentsSpool = { output: 'segments', folder, names, startedAtMs };
  context.onSpool(spool);
  context.logger.info({ playlist: names.playlist, folder: names.folder }, 'recording segments');
  return new SegmentOutput(context, target, spool);
}

/** HLS: every segment is on the local disk first, and uploaded as soon as it is closed. */
class SegmentOutput implements EgressOutput {
  readonly #context: OutputContext;
  readonly #interleaver: Interleaver<EncodedPacket>;
  readonly #segmenter: Segmenter;
  readonly #disk: SegmentSpool;
  readonly #queue: UploadQueue;
  readonly #delivery: SegmentDelivery;
  /** Closed and not yet stored, oldest first. */
  readonly #unstored: SpooledSegment[] = [];
  #isBroken = false;

  constructor(context: OutputContext, target: SegmentTarget, spool: SegmentsSpool) {
    const { logger, record, manifest, storages } = context;
    const { segmentDurationS, suffix, storage } = target;
    this.#context = context;
    this.#delivery = new SegmentDelivery({
      ...{ target, spool, record, manifest, logger },
      storage: storages.for(storage),
    });
    this.#queue = new UploadQueue({
      maxWaiting: Math.ceil(MAX_WAITING_S / segmentDurationS),
      logger,
      // The recording goes on: what cannot be stored is kept.
      onFailed: () => undefined,
    });
    this.#disk = new SegmentSpool({
      folder: spool.folder,
      targetDurationS: segmentDurationS,
      startedAtMs: spool.startedAtMs,
      nameOf: (index, startedAtMs) => segmentName(spool.names, suffix, index, startedAtMs),
      onClosed: (segment) => {
        this.#upload(segment);
      },
      onError: (error) => {
        this.#break(ServiceError.from(error));
      },
    });
    this.#segmenter = new Segmenter({
      ...{ kinds: context.kinds, segmentDurationS },
      sink: this.#disk,
      requestKeyframe: context.requestKeyframe,
    });
    this.#interleaver = new Interleaver(context.kinds, (packet: EncodedPacket) => {
      this.#segmenter.write(packet);
    });
    for (const format of context.expectedFormats) {
      this.addTrack(format);
    }
  }

  addTrack(format: TrackFormat): void {
    this.#attempt(() => {
      this.#segmenter.addTrack(format);
    });
  }

  write(packet: EncodedPacket): void {
    if (!this.#isBroken) {
      this.#attempt(() => {
        this.#interleaver.push(packet);
      });
    }
  }

  async finish(): Promise<void> {
    this.#attempt(() => {
      this.#interleaver.flush();
      this.#segmenter.finish();
    });
    await this.#disk.settled();
    await this.#queue.finish();
    const { error } = this.#queue;
    try {
      if (error !== undefined) {
        await this.#rescue(error);
      }
      await this.#delivery.finish();
    } catch (cause) {
      await this.#onFinishFailed(ServiceError.from(cause), error !== undefined);
    }
  }

  async close(): Promise<void> {
    this.#isBroken = true;
    await this.#queue.close();
  }

  #upload(segment: SpooledSegment): void {
    this.#unstored.push(segment);
    this.#queue.add(async () => {
      await this.#storeOldest();
      await this.#delivery.storePlaylists();
    });
  }

  /** Once per segment, also when the upload of a playlist is tried again. */
  async #storeOldest(): Promise<void> {
    const [oldest] = this.#unstored;
    if (oldest !== undefined) {
      await this.#delivery.storeSegment(oldest, oldest.sizeBytes);
      this.#unstored.shift();
    }
  }

  /** What was not stored is kept together with the playlists of the whole: copied to the storage they complete it. */
  async #rescue(error: ServiceError): Promise<void> {
    const { egress, rescueDir, addFailure } = this.#context;
    const place = path.join(rescueDir, egress.egressId);
    this.#delivery.divert(place);
    const kept = this.#unstored.length;
    while (this.#unstored.length > 0) {
      await this.#storeOldest();
    }
    const note = `${error.message}; ${kept} segments that were not stored are kept at ${place}`;
    addFailure(new ServiceError(error.code, note, { blame: error.blame, cause: error }));
  }

  async #onFinishFailed(error: ServiceError, isRescued: boolean): Promise<void> {
    const { addFailure } = this.#context;
    if (isRescued) {
      addFailure(error);
      return;
    }
    try {
      await this.#rescue(error);
      await this.#delivery.finish();
    } catch {
      addFailure(error);
    }
  }

  #attempt(act: () => void): void {
    try {
      act();
    } catch (error) {
      const code = error instanceof ServiceError ? error.code : 'internal';
      this.#break(new ServiceError(code, messageOf(error), { cause: error }));
    }
  }

  #break(error: ServiceError): void {
    if (!this.#isBroken) {
      this.#isBroken = true;
      this.#context.endJob('failure', error);
    }
  }
}
