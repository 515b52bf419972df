import { monotonicUs } from '../base/clock.ts';
import { ServiceError } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import type { EncoderConnection, MediaSink } from './servers/publisher-types.ts';
import { StandbyBuffer, type StandbyMessage } from './standby-buffer.ts';

/** Without media for this long an encoder is believed stalled when another one stands by … */
const STALLED_AFTER_US = 300_000;
/** … unless it had pauses a quarter as long of late: some send rarely, some connections are not steady. */
const STALLED_AFTER_PAUSES = 4;
/** A pause counts half after so long; not after so many messages, as some encoders send bursts of them. */
const PAUSE_HALF_LIFE_US = 500_000;
/** Believed of an encoder that has just come. */
const FIRST_PAUSE_US = 250_000;

type Member = {
  connection: EncoderConnection;
  buffer: StandbyBuffer;
  lastMediaUs: number;
  /** The longest between two messages, older ones counting less. */
  pauseUs: number;
};

export type BackupEncodersOptions = {
  logger: Logger;
  /** The session goes on with another encoder. @param encoder hangs up on all encoders when dropped. */
  resume: (encoder: EncoderConnection) => MediaSink;
};

/**
 * Two encoders with one stream key: one is heard, the other stands by and takes over at its latest key frame when the
 * first ends or stalls. One that stalled stands by from then on.
 */
export class BackupEncoders {
  readonly #options: BackupEncodersOptions;
  #active: Member | undefined;
  #standby: Member | undefined;
  #sink: MediaSink | undefined;
  /** The one connection the session knows, whoever is heard. */
  readonly #both: EncoderConnection = {
    drop: (cause) => {
      const members = [this.#active, this.#standby];
      this.#active = undefined;
      this.#standby = undefined;
      this.#sink = undefined;
      members.forEach((member) => member?.connection.drop(cause));
    },
  };

  constructor(options: BackupEncodersOptions) {
    this.#options = options;
  }

  /** What a session is created with. */
  get connection(): EncoderConnection {
    return this.#both;
  }

  /** @throws ServiceError already_exists when one is heard and another one stands by. */
  join(connection: EncoderConnection): MediaSink {
    const member: Member = {
      connection,
      buffer: new StandbyBuffer(),
      lastMediaUs: monotonicUs(),
      pauseUs: FIRST_PAUSE_US,
    };
    if (this.#active === undefined) {
      this.#activate(member);
    } else if (this.#standby === undefined) {
      this.#standby = member;
      this.#options.logger.info('ingress backup encoder stands by');
    } else {
      throw new ServiceError(
        'already_exists',
        'an encoder and its backup are already publishing with this stream key',
      );
    }
    return this.#sinkOf(member);
  }

  #sinkOf(member: Member): MediaSink {
    return {
      metadata: (values) => {
        member.buffer.metadata(values);
        if (member === this.#active) {
          this.#sink?.metadata(values);
        }
      },
      outOfNetwork: (eventId) => {
        if (member === this.#active) {
          this.#sink?.outOfNetwork?.(eventId);
        }
      },
      audio: (timestampMs, body, arrivalUs) => {
        this.#onMedia(member, 'audio', { timestampMs, body, arrivalUs: arrivalUs ?? monotonicUs() });
      },
      video: (timestampMs, body, arrivalUs) => {
        this.#onMedia(member, 'video', { timestampMs, body, arrivalUs: arrivalUs ?? monotonicUs() });
      },
      lost: (cause) => {
        this.#onGone(member, (sink) => (sink.lost === undefined ? sink.end(cause) : sink.lost(cause)));
      },
      end: (cause, failure) => this.#onGone(member, (sink) => sink.end(cause, failure)),
    };
  }

  #onMedia(member: Member, kind: 'audio' | 'video', message: StandbyMessage): void {
    const nowUs = monotonicUs();
    const pauseUs = nowUs - member.lastMediaUs;
    member.pauseUs = Math.max(pauseUs, member.pauseUs * 0.5 ** (pauseUs / PAUSE_HALF_LIFE_US));
    member.lastMediaUs = nowUs;
    const isActive = member === this.#active;
    try {
      if (kind === 'video') {
        member.buffer.video(message, !isActive);
      } else {
        member.buffer.audio(message);
      }
    } catch (error) {
      if (!isActive) {
        this.#refuse(member, error);
        return;
      } // the session finds it too, and says it in its state
    }
    if (isActive) {
      this.#sink?.[kind](message.timestampMs, message.body, message.arrivalUs);
    } else if (member === this.#standby && member.buffer.canStart && this.#isActiveStalled(nowUs)) {
      this.#standby = this.#active;
      this.#activate(member, 'stalled');
    }
  }

  #isActiveStalled(nowUs: number): boolean {
    if (this.#active === undefined) {
      return false;
    }
    const { lastMediaUs, pauseUs } = this.#active;
    return nowUs - lastMediaUs > Math.max(STALLED_AFTER_US, pauseUs * STALLED_AFTER_PAUSES);
  }

  #onGone(member: Member, tellSession: (sink: MediaSink) => void): void {
    if (member === this.#standby) {
      this.#standby = undefined;
      this.#options.logger.info('ingress backup encoder left');
      return;
    }
    if (member !== this.#active) {
      return;
    }
    const next = this.#standby;
    const sink = this.#sink;
    this.#active = undefined;
    this.#standby = undefined;
    if (next !== undefined) {
      this.#activate(next, 'ended');
    } else if (sink !== undefined) {
      tellSession(sink);
    }
  }

  /** @param cause why the encoder before is not heard any more; undefined: there is none. */
  #activate(member: Member, cause?: 'ended' | 'stalled'): void {
    this.#active = member;
    this.#sink = this.#options.resume(this.#both);
    if (cause !== undefined) {
      this.#options.logger.info({ cause }, 'ingress backup encoder took over');
      member.buffer.drainTo(this.#sink);
    }
  }

  /** What cannot be read will not be better when it is needed. */
  #refuse(member: Member, error: unknown): void {
    const { message } = ServiceError.from(error, 'malformed');
    this.#options.logger.warn({ err: error }, 'ingress backup encoder refused');
    this.#standby = undefined;
    member.connection.drop(message);
  }
}
