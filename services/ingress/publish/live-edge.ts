/** An encoder that has not caught up after this long does not try to: its time is taken as it is now. */
const CATCH_UP_US = 2_000_000;
/** By then at the latest. */
const MAX_SKIP_US = 4_000_000;
/** Of the time that passed: slower than this is no catching up. */
const CATCH_UP_SPEED = 0.2;
/** Sound counts only where there is no picture. */
const VIDEO_GONE_US = 2_000_000;

export type LiveEdgeOptions = {
  maxLatencyMs: number;
  /** Media is left out from now on, or no longer. */
  onSkip: (skipping: boolean, latencyMs: number) => void;
  /** The encoder's time is to be moved by this, for both tracks. */
  onShift: (shiftUs: number) => void;
};

/**
 * Keeps what is published close to what is sent: media that comes too late after a stall is left out up to the next key
 * frame. Late is what arrives later than the session clock says; that clock was set by the first arrival.
 */
export class LiveEdge {
  readonly #options: LiveEdgeOptions;
  readonly #maxLatencyUs: number;
  #skipping: { sinceUs: number; latencyUs: number } | undefined;
  #lastVideoUs = Number.NEGATIVE_INFINITY;
  #latencyUs = 0;

  constructor(options: LiveEdgeOptions) {
    this.#options = options;
    this.#maxLatencyUs = options.maxLatencyMs * 1000;
  }

  /** Of the latest packet that counts, not below 0. */
  get latencyMs(): number {
    return Math.max(0, Math.round(this.#latencyUs / 1000));
  }

  /** @returns the time to use, or undefined: the frame is left out. */
  video(timeUs: number, arrivalUs: number, key: boolean): number | undefined {
    this.#lastVideoUs = arrivalUs;
    return this.#admit(timeUs, arrivalUs, key);
  }

  /** @returns as video(). */
  audio(timeUs: number, arrivalUs: number): number | undefined {
    if (arrivalUs - this.#lastVideoUs > VIDEO_GONE_US) {
      return this.#admit(timeUs, arrivalUs, true);
    }
    return this.#skipping === undefined ? timeUs : undefined;
  }

  /** The encoder was replaced: its time starts anew. */
  restart(): void {
    this.#skipping = undefined;
    this.#lastVideoUs = Number.NEGATIVE_INFINITY;
  }

  #admit(timeUs: number, arrivalUs: number, canStart: boolean): number | undefined {
    const latencyUs = arrivalUs - timeUs;
    this.#latencyUs = latencyUs;
    const isLate = latencyUs > this.#maxLatencyUs;
    if (this.#skipping === undefined) {
      if (!isLate) {
        return timeUs;
      }
      this.#skipping = { sinceUs: arrivalUs, latencyUs };
      this.#options.onSkip(true, this.latencyMs);
    }
    if (!canStart) {
      return undefined;
    }
    if (!isLate) {
      return this.#goOn(timeUs);
    }
    const skippedUs = arrivalUs - this.#skipping.sinceUs;
    const catchesUp = this.#skipping.latencyUs - latencyUs > skippedUs * CATCH_UP_SPEED;
    if (skippedUs < CATCH_UP_US || (catchesUp && skippedUs < MAX_SKIP_US)) {
      return undefined;
    }
    this.#latencyUs = 0;
    this.#options.onShift(latencyUs);
    return this.#goOn(arrivalUs);
  }

  #goOn(timeUs: number): number {
    this.#skipping = undefined;
    this.#options.onSkip(false, this.latencyMs);
    return timeUs;
  }
}
