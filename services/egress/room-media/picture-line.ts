import type { ServiceError } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import { BLACK_FRAMES } from '../../media/codecs/black-frames.ts';
import type { IvfCodec } from '../../media/ffmpeg/ivf.ts';
import type { EncodedPacket, VideoFormat } from '../../model/packet.ts';
import type { Encoding } from '../../model/presets.ts';
import { PictureEncoder, type EncodedFrame } from './picture-encoder.ts';

export type PictureLineOptions = {
  ffmpegPath: string;
  encoding: Encoding;
  logger: Logger;
  onFormat: (format: VideoFormat) => void;
  onPacket: (packet: EncodedPacket) => void;
  /** The picture has stopped for good. */
  onFailure: (error: ServiceError) => void;
};

/** Times count from the start of the recording. */
type Picture = { codec: IvfCodec; ptsUs: number; key: boolean; data: Uint8Array };

/** What waits for an encoder change; at 60 pictures per second far more than that takes. */
const MAX_HELD = 600;

/**
 * The one picture of a recording, without gaps: tracks come and go, change size and codec, and black stands in for
 * them. Encoders follow each other when the codec changes; frame numbers go on, so nobody downstream sees it.
 */
export class PictureLine {
  readonly #options: PictureLineOptions;
  #encoder: PictureEncoder | undefined;
  /** Set while the encoder of another codec gives out its last pictures. */
  #changing: Promise<void> | undefined;
  #held: Picture[] = [];
  #codec: IvfCodec | undefined;
  #nextFrame = 0;
  #lastPtsUs = Number.NEGATIVE_INFINITY;
  #needsKey = true;
  #formatSent = false;
  #closing: Promise<void> | undefined;

  constructor(options: PictureLineOptions) {
    this.#options = options;
  }

  /** Pictures are of no use before the next key frame. */
  get needsKey(): boolean {
    return this.#needsKey;
  }

  get lastPtsUs(): number {
    return this.#lastPtsUs;
  }

  /** Another track begins: nothing refers to what came before. */
  restart(): void {
    this.#needsKey = true;
  }

  write(picture: Picture): void {
    if (this.#closing !== undefined || (this.#needsKey && !picture.key)) {
      return;
    }
    this.#needsKey = false;
    this.#put(picture);
  }

  /** Black from here on, until the next key frame; repeat it to keep the output flowing. */
  black(ptsUs: number, preferredCodec: IvfCodec): void {
    if (this.#closing !== undefined) {
      return;
    }
    const codec = this.#codec ?? preferredCodec;
    this.#needsKey = true;
    this.#put({ codec, ptsUs, key: true, data: BLACK_FRAMES[codec] });
  }

  /** Resolves after the last packet. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= (async () => {
      await this.#changing;
      await this.#encoder?.close();
    })();
    return this.#closing;
  }

  #put(picture: Picture): void {
    this.#codec = picture.codec;
    if (this.#changing !== undefined) {
      if (this.#held.length >= MAX_HELD) {
        this.#held = [];
        this.#needsKey = true;
        return;
      }
      this.#held.push(picture);
      return;
    }
    if (this.#encoder !== undefined && this.#encoder.codec !== picture.codec) {
      this.#change(this.#encoder, picture);
      return;
    }
    this.#encoder ??= this.#open(picture.codec);
    const ptsUs = Math.max(0, picture.ptsUs);
    if (this.#encoder.write(ptsUs, picture.data)) {
      this.#lastPtsUs = Math.max(this.#lastPtsUs, ptsUs);
    } else {
      this.#needsKey = true;
    }
  }

  #change(encoder: PictureEncoder, picture: Picture): void {
    this.#options.logger.info({ from: encoder.codec, to: picture.codec }, 'codec of the picture changes');
    this.#held.push(picture);
    this.#changing = encoder.close().then(() => {
      this.#encoder = undefined;
      this.#changing = undefined;
      for (const held of this.#held.splice(0)) {
        this.#put(held);
      }
    });
  }

  #open(codec: IvfCodec): PictureEncoder {
    const { ffmpegPath, encoding, logger, onFailure } = this.#options;
    return new PictureEncoder({
      ...{ ffmpegPath, codec, encoding, logger, onFailure },
      firstFrame: this.#nextFrame,
      onFrame: (frame) => {
        this.#emit(frame);
      },
    });
  }

  #emit({ number, key, data }: EncodedFrame): void {
    const { encoding, onFormat, onPacket } = this.#options;
    if (number < this.#nextFrame) {
      return;
    }
    if (!this.#formatSent) {
      this.#formatSent = true;
      onFormat({ kind: 'video', codec: 'h264', width: encoding.width, height: encoding.height });
    }
    this.#nextFrame = number + 1;
    const ptsUs = Math.round((number * 1e6) / encoding.framerate);
    const durationUs = Math.round(1e6 / encoding.framerate);
    onPacket({ kind: 'video', ptsUs, dtsUs: ptsUs, durationUs, key, data });
  }
}
