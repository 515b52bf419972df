/** Estimates look at this much time for the packet with the least delay. */
const WINDOW_US = 10_000_000;
/** Correction of the publisher's clock against ours: far more than crystals differ, far less than anyone hears. */
const MAX_SLEW_PPM = 500;
/** A step this large is a publisher whose clock was set; following it slowly would take hours. */
const STEP_US = 5_000_000;

/**
 * Maps the NTP clock in one publisher's sender reports to our session clock. All tracks of the publisher share it,
 * which is what lines them up (RFC 3550 §6.4.1). The offset follows the least delayed report of a window, so it tracks
 * drift and not jitter, and it moves by slewing.
 */
export class PublisherClock {
  #offsetUs: number | undefined;
  #baselineUs = 0;
  #windowStartUs = 0;
  #windowMinimumUs = Number.POSITIVE_INFINITY;
  #correctionUs = 0;
  #lastUs = 0;

  get isSet(): boolean {
    return this.#offsetUs !== undefined;
  }

  /** Fixes the mapping by the first track that gets a report: its times do not move. */
  set(offsetUs: number): void {
    this.#offsetUs = offsetUs;
  }

  /** Session time of a publisher's NTP time. `set` came before. */
  toSessionUs(ntpUs: number): number {
    return ntpUs + (this.#offsetUs ?? 0);
  }

  /** Feeds the arrival of a sender report. */
  onReport(ntpUs: number, arrivalUs: number): void {
    const delayUs = arrivalUs - ntpUs;
    if (this.#offsetUs === undefined) {
      return;
    }
    if (this.#windowStartUs === 0) {
      this.#windowStartUs = arrivalUs;
      this.#baselineUs = delayUs;
      this.#lastUs = arrivalUs;
    }
    if (Math.abs(delayUs - this.#baselineUs) > STEP_US) {
      this.#offsetUs += delayUs - this.#baselineUs;
      this.#baselineUs = delayUs;
      this.#windowStartUs = arrivalUs;
      this.#windowMinimumUs = delayUs;
      this.#correctionUs = 0;
    }
    this.#windowMinimumUs = Math.min(this.#windowMinimumUs, delayUs);
    if (arrivalUs - this.#windowStartUs >= WINDOW_US) {
      this.#correctionUs += this.#windowMinimumUs - this.#baselineUs;
      this.#baselineUs = this.#windowMinimumUs;
      this.#windowMinimumUs = Number.POSITIVE_INFINITY;
      this.#windowStartUs = arrivalUs;
    }
    const allowedUs = ((arrivalUs - this.#lastUs) * MAX_SLEW_PPM) / 1_000_000;
    const stepUs = Math.max(-allowedUs, Math.min(allowedUs, this.#correctionUs));
    this.#offsetUs += stepUs;
    this.#correctionUs -= stepUs;
    this.#lastUs = arrivalUs;
  }
}
