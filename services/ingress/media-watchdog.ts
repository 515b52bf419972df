import { ServiceError } from '../base/errors.ts';

/** LiveKit's limit. */
const TIMEOUT_MS = 60_000;

/** An encoder that is connected and gives nothing that could be published for a minute is not going to. */
export class MediaWatchdog {
  readonly #onMissed: (error: ServiceError) => void;
  #timer: NodeJS.Timeout | undefined;

  /** @param onMissed gets LiveKit's error. */
  constructor(onMissed: (error: ServiceError) => void) {
    this.#onMissed = onMissed;
  }

  /** From now on something must come. */
  expectMedia(): void {
    this.clear();
    this.#timer = setTimeout(() => {
      const seconds = TIMEOUT_MS / 1000;
      this.#onMissed(
        new ServiceError('unavailable', `source encoder not ready: nothing to publish for ${seconds} s`),
      );
    }, TIMEOUT_MS).unref();
  }

  /** It came, or nobody waits for it any more. */
  clear(): void {
    clearTimeout(this.#timer);
  }
}
