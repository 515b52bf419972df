import type { Logger } from '../base/logger.ts';
import { BackupEncoders } from './backup-encoders.ts';
import { SILENT_AFTER_MS, type RtmpSessionPolicy } from './rtmp-session-policy.ts';
import type { EncoderConnection, MediaSink } from './servers/publisher-types.ts';

export type EncoderSeatOptions = {
  /** The encoder a session is created for. */
  encoder: EncoderConnection;
  policy: RtmpSessionPolicy;
  logger: Logger;
  /** Gets the media of whoever is heard. */
  session: MediaSink;
  /** Since the last media, or since the latest encoder came. */
  quietForMs: () => number;
  /**
   * Somebody is heard from now on. @param before whether another one was until now; `same`: behind the same
   * connection, so that its media may be older than the end of what came before.
   */
  onTaken: (before: 'nobody' | 'other' | 'same') => void;
};

/** Whose media one session publishes: the encoder that is heard, the next one, and the wait between the two. */
export class EncoderSeat {
  readonly #options: EncoderSeatOptions;
  /** Undefined: nobody may stand by. */
  readonly #backup: BackupEncoders | undefined;
  #encoder: EncoderConnection | undefined;
  #windowTimer: NodeJS.Timeout | undefined;

  constructor(options: EncoderSeatOptions) {
    this.#options = options;
    const { encoder, logger, policy } = options;
    this.#backup =
      policy.duplicateKey === 'backup'
        ? new BackupEncoders({ logger, resume: (both) => this.#give(both) })
        : undefined;
    this.#encoder = this.#backup?.connection ?? encoder;
  }

  /** False while the encoder is away. */
  get isTaken(): boolean {
    return this.#encoder !== undefined;
  }

  /** Whether the next encoder with the same key is accepted, with the participant and its tracks as they are. */
  get takesNext(): boolean {
    return !this.isTaken || this.#isQuiet || this.#options.policy.duplicateKey !== 'reject';
  }

  get #isQuiet(): boolean {
    return this.#options.policy.reconnectWindowMs > 0 && this.#options.quietForMs() > SILENT_AFTER_MS;
  }

  /** The media of the present encoder; ignored as soon as another one has taken over. */
  sink(): MediaSink {
    const encoder = this.#encoder;
    const { session } = this.#options;
    const present = (): MediaSink | undefined =>
      encoder !== undefined && encoder === this.#encoder ? session : undefined;
    return {
      metadata: (values) => present()?.metadata(values),
      source: (description) => present()?.source?.(description),
      outOfNetwork: (eventId) => present()?.outOfNetwork?.(eventId),
      audio: (timestampMs, body, arrivalUs) => present()?.audio(timestampMs, body, arrivalUs),
      video: (timestampMs, body, arrivalUs) => present()?.video(timestampMs, body, arrivalUs),
      lost: (cause) => present()?.lost?.(cause),
      end: (cause, failure) => present()?.end(cause, failure),
    };
  }

  /**
   * The encoder this seat was created for, or a later one: it takes the place of the one before, or stands by.
   * @throws ServiceError already_exists when one stands by already.
   */
  accept(encoder: EncoderConnection): MediaSink {
    if (this.#backup !== undefined) {
      return this.#backup.join(encoder);
    }
    return encoder === this.#encoder ? this.sink() : this.#give(encoder);
  }

  /** The encoder is away. @param onWindowOver called when no other has come within the policy's window. */
  leave(onWindowOver: () => void): void {
    this.#encoder = undefined;
    this.#windowTimer = setTimeout(onWindowOver, this.#options.policy.reconnectWindowMs);
  }

  /** Hangs up on whoever is there, and waits for nobody. Idempotent. */
  close(cause: string): void {
    clearTimeout(this.#windowTimer);
    this.#encoder?.drop(cause);
  }

  /** @param encoder the same as before: another one behind it is heard from now on. */
  #give(encoder: EncoderConnection): MediaSink {
    const previous = this.#encoder;
    clearTimeout(this.#windowTimer);
    this.#encoder = encoder;
    this.#options.onTaken(previous === undefined ? 'nobody' : previous === encoder ? 'same' : 'other');
    if (previous !== encoder) {
      previous?.drop('another encoder took over this stream key');
      this.#options.logger.info({ replaced: previous !== undefined }, 'ingress encoder connected again');
    }
    return this.sink();
  }
}
