import { SafeEmitter } from '../../base/events.ts';
import type { SourceFrame } from './video-bitstream.ts';
import {
  VideoTranscoder,
  type VideoTranscoderEvents,
  type VideoTranscoderOptions,
} from './video-transcoder.ts';

/** Of pictures that wait for somebody to watch; a longer group of pictures is waited out. */
const MAX_WAITING_BYTES = 8_000_000;

/**
 * Encodes while anybody watches. When somebody comes back, what came since the last key frame is decoded and the next
 * picture encoded as a key frame: nobody waits for the encoder's own.
 */
export class WatchedTranscoder {
  readonly events: SafeEmitter<VideoTranscoderEvents>;
  readonly #options: VideoTranscoderOptions;
  #transcoder: VideoTranscoder | undefined;
  /** From a key frame on. */
  #waiting: SourceFrame[] = [];
  #waitingBytes = 0;
  #closed = false;

  constructor(options: VideoTranscoderOptions, isWatched: boolean) {
    this.#options = options;
    this.events = new SafeEmitter(options.logger);
    if (isWatched) {
      this.#transcoder = this.#start();
    }
  }

  /** As VideoTranscoder.write. */
  write(frame: SourceFrame): void {
    if (this.#transcoder === undefined) {
      this.#hold(frame);
    } else {
      this.#transcoder.write(frame);
    }
  }

  setWatched(isWatched: boolean): void {
    if (this.#closed || isWatched === (this.#transcoder !== undefined)) {
      return;
    }
    this.#options.logger.info(
      isWatched ? 'ingress lower layers are encoded again' : 'nobody watches: ingress lower layers rest',
    );
    if (isWatched) {
      this.#transcoder = this.#start();
    } else {
      const resting = this.#transcoder;
      this.#transcoder = undefined;
      resting?.close().catch((error: unknown) => {
        this.#options.logger.warn({ err: error }, 'video transcoder did not close');
      });
    }
    this.#forget();
  }

  /** Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#forget();
    await this.#transcoder?.close();
  }

  #start(): VideoTranscoder {
    const transcoder = new VideoTranscoder({ ...this.#options, catchUp: this.#waiting });
    transcoder.events.on('frame', (frame) => {
      if (transcoder === this.#transcoder) {
        this.events.emit('frame', frame);
      }
    });
    transcoder.events.on('closed', (end) => {
      if (transcoder === this.#transcoder) {
        this.events.emit('closed', end);
      }
    });
    return transcoder;
  }

  #hold(frame: SourceFrame): void {
    if (frame.key) {
      this.#forget();
    }
    if (frame.key || this.#waiting.length > 0) {
      this.#waiting.push(frame);
      this.#waitingBytes += frame.data.length;
    }
    if (this.#waitingBytes > MAX_WAITING_BYTES) {
      this.#forget();
    }
  }

  #forget(): void {
    this.#waiting = [];
    this.#waitingBytes = 0;
  }
}
