/** Picture and sound of one moment do not arrive at the same instant. */
const TOLERATED_LEAD_US = 50_000;
const SHORTEST_STEP_US = 1_000;

/**
 * Time of live media on this machine's clock. Nothing live comes before its time: what a server or a demuxer had
 * stored and sends in one go at the start is squeezed together, so that viewers see the present.
 */
export class LiveClock {
  #offsetUs: number | undefined;
  readonly #last = new Map<number, { mediaUs: number; outUs: number }>();

  /** @param track any number per track. @returns µs; rises as long as the media's own time does. */
  at(track: number, mediaUs: number, arrivalUs: number): number {
    this.#offsetUs ??= arrivalUs - mediaUs;
    const leadUs = mediaUs + this.#offsetUs - arrivalUs;
    if (leadUs > TOLERATED_LEAD_US) {
      this.#offsetUs -= leadUs - TOLERATED_LEAD_US;
    }
    const last = this.#last.get(track);
    const outUs = mediaUs + this.#offsetUs;
    if (last === undefined || mediaUs > last.mediaUs) {
      const risenUs = last === undefined ? outUs : Math.max(outUs, last.outUs + SHORTEST_STEP_US);
      this.#last.set(track, { mediaUs, outUs: risenUs });
      return risenUs;
    }
    return outUs;
  }
}
