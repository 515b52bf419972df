const MAX_INTERVAL_US = 4_000_000;

/** Notices an encoder whose key frames are too far apart: whoever joins or loses a packet waits for the next one. */
export class KeyframeInterval {
  readonly #onSlow: (intervalS: number) => void;
  #lastKeyUs: number | undefined;
  #reportedS = 0;

  /** @param onSlow called when the interval is seen to be too long, and again when it turns out to be longer. */
  constructor(onSlow: (intervalS: number) => void) {
    this.#onSlow = onSlow;
  }

  /** Times on the session clock. */
  onFrame(ptsUs: number, key: boolean): void {
    if (this.#lastKeyUs !== undefined && key) {
      const intervalUs = ptsUs - this.#lastKeyUs;
      const intervalS = Math.round(intervalUs / 100_000) / 10;
      if (intervalUs > MAX_INTERVAL_US && intervalS > this.#reportedS) {
        this.#reportedS = intervalS;
        this.#onSlow(intervalS);
      }
    }
    if (key) {
      this.#lastKeyUs = ptsUs;
    }
  }

  /** The stream was interrupted: what comes next says nothing about the encoder's interval. */
  interrupted(): void {
    this.#lastKeyUs = undefined;
    this.#reportedS = 0;
  }
}
