import { ServiceError } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import { parseAvcConfig, type AvcConfig } from '../../media/codecs/h264-avcc.ts';
import { joinAnnexB, splitLengthPrefixed, withoutDelimiters } from '../../media/codecs/h264.ts';
import { EncoderChild } from '../../media/ffmpeg/encoder-child.ts';
import { ivfFrame, ivfHeader, type IvfCodec } from '../../media/ffmpeg/ivf.ts';
import type { Encoding } from '../../model/presets.ts';
import { FLV_TAG, FlvReader, parseFlvVideo } from '../../protocol/flv.ts';
import { pictureEncoderArgs } from './picture-encoder-args.ts';

export type PictureEncoderOptions = {
  ffmpegPath: string;
  codec: IvfCodec;
  encoding: Encoding;
  /** Number of the first picture that comes out, counted from the start of the recording at the constant rate. */
  firstFrame: number;
  logger: Logger;
  onFrame: (frame: EncodedFrame) => void;
  /** ffmpeg ended by itself. */
  onFailure: (error: ServiceError) => void;
};

/** `data`: an Annex B access unit, with parameter sets in front of a key frame. */
export type EncodedFrame = { number: number; key: boolean; data: Uint8Array };

const MAX_BACKLOG_BYTES = 8_000_000;

/**
 * One ffmpeg child that turns pictures of one codec and of any size into H.264 of one size at a constant rate. When it
 * cannot keep up, input is refused up to the next key frame, and the last picture is repeated.
 */
export class PictureEncoder {
  readonly codec: IvfCodec;
  readonly #options: PictureEncoderOptions;
  readonly #child: EncoderChild;
  readonly #reader = new FlvReader();
  readonly #startUs: number;
  #config: AvcConfig | undefined;
  #lastUs = -1;

  constructor(options: PictureEncoderOptions) {
    const { ffmpegPath, encoding, logger } = options;
    this.#options = options;
    this.codec = options.codec;
    this.#startUs = (options.firstFrame * 1e6) / encoding.framerate;
    this.#child = new EncoderChild({
      ...{ ffmpegPath, logger, what: 'picture encoding' },
      args: pictureEncoderArgs(encoding),
      onEnded: (error) => {
        if (error !== undefined) {
          options.onFailure(error);
        }
      },
    });
    const { stdin, stdout } = this.#child.process;
    stdin.write(ivfHeader(options.codec, encoding.width, encoding.height));
    stdout.on('data', (bytes: Buffer) => {
      this.#child.read(() => this.#onOutput(bytes));
    });
  }

  /** Pictures in decoding order. @returns false when it was left out: ask for a key frame and go on with that. */
  write(ptsUs: number, data: Uint8Array): boolean {
    const { stdin } = this.#child.process;
    if (!this.#child.isOpen || stdin.writableLength > MAX_BACKLOG_BYTES) {
      return false;
    }
    this.#lastUs = Math.max(this.#lastUs + 1, Math.round(ptsUs - this.#startUs));
    stdin.write(ivfFrame(this.#lastUs, data));
    return true;
  }

  /** Gives out what ffmpeg still holds and ends it. Idempotent. */
  close(): Promise<void> {
    return this.#child.close();
  }

  #onOutput(bytes: Buffer): void {
    for (const tag of this.#reader.push(bytes)) {
      const video = tag.typeId === FLV_TAG.video ? parseFlvVideo(tag.body) : undefined;
      if (video?.packet === 'config') {
        this.#config = parseAvcConfig(video.data);
      } else if (video?.packet === 'frame') {
        this.#emit(tag.timestampMs, video.key, video.data);
      }
    }
  }

  #emit(timestampMs: number, key: boolean, data: Buffer): void {
    const { firstFrame, encoding, onFrame } = this.#options;
    if (this.#config === undefined) {
      throw new ServiceError('malformed', 'picture encoding: ffmpeg sent no parameter sets');
    }
    const { sps, pps } = this.#config;
    const nals = withoutDelimiters(splitLengthPrefixed(data, this.#config.lengthSize));
    onFrame({
      number: firstFrame + Math.round((timestampMs * encoding.framerate) / 1000),
      key,
      data: joinAnnexB(key ? [...sps, ...pps, ...nals] : nals),
    });
  }
}
