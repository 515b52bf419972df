/** Picture and sound of one moment do not arrive at the same instant. */
const TOLERATED_LEAD_US = 50_000;
const SHORTEST_STEP_US = 1_000;
/** What is squeezed goes by so much faster … */
const SQUEEZE = 32;
/** … and a gap in the media takes no longer than this. */
const LONGEST_SQUEEZED_US = 100_000;
/** Reordered pictures and the other track lie behind by less; what steps back farther is another time. */
const MAX_STEP_BACK_US = 5_000_000;

/** A media time behind `fromUs` counts from `startUs` on. */
type Stretch = { fromUs: number; startUs: number; offsetUs: number };
export type MediaTimes = { dtsUs: number; ptsUs: number };

/**
 * Time of live media on this machine's clock. Nothing live comes before its time: what a server or a demuxer had
 * stored and sends in one go is squeezed together, so that viewers see the present. One moment of the media is one moment
 * here, on whichever track and in whatever order it comes: what is shown later stays later, or decoders would stop
 * believing presentation times (ffmpeg does so for good after one step back).
 */
export class LiveClock {
  /** Latest first; all behind a moment that had not come when the stretch began. */
  #stretches: Stretch[] = [];
  #newestUs = Number.NEGATIVE_INFINITY;
  /** By track: the latest decoding time. */
  readonly #last = new Map<number, { mediaUs: number; outUs: number }>();

  /**
   * @param track any number per track. @param times the media's own, of what has come now.
   * @returns µs; decoding times rise as long as the media's own do, presentation times with those of the media.
   */
  at(track: number, { dtsUs, ptsUs }: MediaTimes, arrivalUs: number): MediaTimes {
    this.#follow(dtsUs, ptsUs, arrivalUs);
    const last = this.#last.get(track);
    let outUs = this.#out(dtsUs);
    if (last === undefined || dtsUs > last.mediaUs) {
      outUs = Math.max(outUs, (last?.outUs ?? Number.NEGATIVE_INFINITY) + SHORTEST_STEP_US);
      this.#last.set(track, { mediaUs: dtsUs, outUs });
    }
    return { dtsUs: outUs, ptsUs: this.#out(ptsUs) };
  }

  #follow(dtsUs: number, ptsUs: number, arrivalUs: number): void {
    const offsetUs = this.#stretches[0]?.offsetUs ?? arrivalUs - dtsUs;
    if (dtsUs < this.#newestUs - MAX_STEP_BACK_US || this.#stretches.length === 0) {
      this.#stretches = [{ fromUs: Number.NEGATIVE_INFINITY, startUs: Number.NEGATIVE_INFINITY, offsetUs }];
      this.#newestUs = ptsUs;
    }
    const leadUs = dtsUs + offsetUs - arrivalUs;
    if (leadUs > TOLERATED_LEAD_US) {
      const fromUs = this.#newestUs;
      this.#stretches = [
        { fromUs, startUs: this.#out(fromUs), offsetUs: offsetUs - leadUs + TOLERATED_LEAD_US },
        ...this.#stretches.filter(
          (stretch, index) => index === 0 || stretch.fromUs > fromUs - MAX_STEP_BACK_US,
        ),
      ];
    }
    this.#newestUs = Math.max(this.#newestUs, ptsUs);
  }

  #out(mediaUs: number): number {
    const stretch = this.#stretches.find(({ fromUs }) => mediaUs > fromUs) ?? this.#stretches.at(-1);
    if (stretch === undefined) {
      return mediaUs;
    }
    const { fromUs, startUs, offsetUs } = stretch;
    const sinceUs = Math.min((mediaUs - fromUs) / SQUEEZE, LONGEST_SQUEEZED_US);
    return mediaUs <= fromUs || startUs === Number.NEGATIVE_INFINITY
      ? mediaUs + offsetUs
      : Math.max(mediaUs + offsetUs, startUs + sinceUs);
  }
}
