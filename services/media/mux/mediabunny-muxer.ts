import {
  EncodedAudioPacketSource,
  EncodedPacket as MediabunnyPacket,
  EncodedVideoPacketSource,
  OggOutputFormat,
  Output,
  StreamTarget,
  WebMOutputFormat,
  type StreamTargetChunk,
} from 'mediabunny';
import { ServiceError } from '../../base/errors.ts';
import { parseOpusPacket } from '../codecs/opus.ts';
import type { AudioFormat, EncodedPacket, TrackFormat, VideoFormat } from '../../model/packet.ts';
import { assertHolds } from './container-codecs.ts';
import type { Muxer, MuxerOptions, MuxerStats } from './muxer-types.ts';
import { opusHead, silenceFor } from './opus-frames.ts';
import { WriteQueue } from './write-queue.ts';

const OGG_PAGE_S = 1;
/** How far the file may be behind. */
const BATCH_US = 500_000;
/** Opus frames start within this of their place; a larger hole in an Ogg stream is filled. */
const OGG_GAP_US = 30_000;
const WEBM_VIDEO = { vp8: 'vp8', vp9: 'vp09.00.10.08' } as const;

type Add = (packet: MediabunnyPacket, isFirst: boolean) => Promise<void>;

/**
 * WebM and Ogg through mediabunny, one track per file. They reach the sink packet by packet (WebM, as a live stream
 * without index) or page by page (Ogg), so a crash leaves a playable file. With several tracks mediabunny holds everything back while one of
 * them is silent; that is why the track count is one.
 */
export class MediabunnyMuxer implements Muxer {
  readonly #options: MuxerOptions;
  readonly #queue: WriteQueue;
  readonly #kind: 'video' | 'audio';
  #format: TrackFormat | undefined;
  #output: Output | undefined;
  #add: Add | undefined;
  #tail: Promise<void> = Promise.resolve();
  #baseUs: number | undefined;
  #lastPtsUs = -Infinity;
  #endUs = 0;
  #batch: { item: MediabunnyPacket; isFirst: boolean }[] = [];
  #batchStartUs = 0;
  #packets = 0;
  #droppedPackets = 0;
  #failed = false;
  #finished: Promise<void> | undefined;

  /** @throws ServiceError unimplemented for more than one track. */
  constructor(options: MuxerOptions) {
    const [kind, ...more] = options.kinds;
    if (kind === undefined || more.length > 0) {
      throw new ServiceError('unimplemented', `${options.container} recordings hold exactly one track`);
    }
    this.#kind = kind;
    this.#options = options;
    this.#queue = new WriteQueue(options.sink, options.onError);
  }

  get stats(): MuxerStats {
    return {
      packets: this.#packets,
      droppedPackets: this.#droppedPackets,
      bytes: this.#queue.bytes,
      durationUs: this.#endUs,
    };
  }

  addTrack(format: TrackFormat): void {
    assertHolds(this.#options.container, format);
    this.#format ??= format;
  }

  write(packet: EncodedPacket): void {
    const unusable =
      this.#finished !== undefined || packet.kind !== this.#kind || packet.ptsUs <= this.#lastPtsUs;
    if (unusable || (this.#add === undefined && !packet.key)) {
      this.#droppedPackets++;
      return;
    }
    this.#add ??= this.#open();
    this.#baseUs ??= packet.ptsUs;
    this.#lastPtsUs = packet.ptsUs;
    if (this.#options.container === 'ogg') {
      const durationUs = opusDurationUs(packet.data);
      if (durationUs === 0) {
        this.#droppedPackets++;
        return;
      }
      this.#fillHole(packet);
      this.#push({ ...packet, durationUs });
    } else {
      this.#push(packet);
    }
  }

  finish(): Promise<void> {
    this.#finished ??= this.#finish();
    return this.#finished;
  }

  async #finish(): Promise<void> {
    if (this.#add !== undefined) {
      this.#writeBatch(this.#add);
    }
    await this.#tail;
    if (this.#output?.state === 'started' && !this.#queue.failed) {
      await this.#output.finalize();
    }
    await this.#queue.close();
  }

  /** mediabunny places Ogg packets one behind the other, so silence has to be real packets. */
  #fillHole(packet: EncodedPacket): void {
    const dueUs = packet.ptsUs - (this.#baseUs ?? 0);
    const channels = this.#format?.kind === 'audio' ? this.#format.channels : 2;
    for (const silence of silenceFor(channels, this.#endUs, dueUs, OGG_GAP_US)) {
      this.#push({ ...silence, ptsUs: silence.ptsUs + (this.#baseUs ?? 0) }, false);
    }
  }

  #push(packet: EncodedPacket, counts = true): void {
    const add = this.#add;
    if (add === undefined) {
      return;
    }
    const ptsUs = packet.ptsUs - (this.#baseUs ?? 0);
    const isFirst = this.#packets === 0;
    this.#packets += counts ? 1 : 0;
    // Ogg: the position is the sum of the durations, as a decoder will count it.
    this.#endUs = (this.#options.container === 'ogg' ? this.#endUs : ptsUs) + packet.durationUs;
    const item = new MediabunnyPacket(
      packet.data,
      packet.key ? 'key' : 'delta',
      ptsUs / 1e6,
      packet.durationUs / 1e6,
    );
    this.#batch.push({ item, isFirst });
    if (this.#endUs - this.#batchStartUs >= BATCH_US) {
      this.#writeBatch(add);
    }
  }

  /** Packets go to mediabunny together: one at a time they would cost more than receiving them. */
  #writeBatch(add: Add): void {
    const batch = this.#batch;
    this.#batch = [];
    this.#batchStartUs = this.#endUs;
    this.#tail = this.#tail
      .then(async () => {
        for (const { item, isFirst } of batch) {
          await add(item, isFirst);
        }
      })
      .catch((error: unknown) => {
        this.#droppedPackets += batch.length;
        if (!this.#failed) {
          this.#failed = true;
          this.#options.onError(ServiceError.from(error));
        }
      });
  }

  #open(): Add {
    const format = this.#format;
    if (format === undefined) {
      throw new ServiceError('internal', 'a packet came before the format of its track');
    }
    const queue = this.#queue;
    const writable = new WritableStream<StreamTargetChunk>({
      write: (chunk) => {
        queue.writeAt(chunk.data, chunk.position);
      },
    });
    const output = new Output({
      format:
        this.#options.container === 'ogg'
          ? new OggOutputFormat({ maximumPageDuration: OGG_PAGE_S })
          : // Sizes that are filled in later would leave zeros behind a crash; the index is added at the end by a remux.
            new WebMOutputFormat({ appendOnly: true }),
      target: new StreamTarget(writable),
    });
    const add = format.kind === 'video' ? addVideo(output, format) : addAudio(output, format);
    this.#output = output;
    this.#tail = output.start();
    return add;
  }
}

function addVideo(output: Output, format: VideoFormat): Add {
  const { codec } = format;
  if (codec !== 'vp8' && codec !== 'vp9') {
    throw new ServiceError('unimplemented', `WebM recordings hold VP8 or VP9 video, not ${codec}`);
  }
  const source = new EncodedVideoPacketSource(codec);
  output.addVideoTrack(source);
  const decoderConfig = { codec: WEBM_VIDEO[codec], codedWidth: format.width, codedHeight: format.height };
  return (packet, isFirst) => source.add(packet, isFirst ? { decoderConfig } : undefined);
}

function addAudio(output: Output, format: AudioFormat): Add {
  if (format.codec !== 'opus') {
    throw new ServiceError('unimplemented', `Ogg recordings hold Opus audio, not ${format.codec}`);
  }
  const source = new EncodedAudioPacketSource('opus');
  output.addAudioTrack(source);
  const decoderConfig = {
    codec: 'opus',
    sampleRate: format.sampleRateHz,
    numberOfChannels: format.channels,
    description: format.description ?? opusHead(format),
  };
  return (packet, isFirst) => source.add(packet, isFirst ? { decoderConfig } : undefined);
}

/** 0 for a packet that is not Opus. */
function opusDurationUs(data: Uint8Array): number {
  try {
    return parseOpusPacket(data).durationUs;
  } catch {
    return 0;
  }
}
