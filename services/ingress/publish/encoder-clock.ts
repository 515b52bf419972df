/** Encoders may jump ahead this much more than real time before it counts as a new clock. */
const MAX_LEAD_US = 10_000_000;
const MAX_STEP_BACK_US = 1_000_000;
/** The smallest step FLV can tell. */
const SQUEEZED_STEP_US = 1_000;

type Track = 'audio' | 'video';
type TrackState = { offsetUs: number; lastOutUs: number; lastArrivalUs: number };

/**
 * Maps an encoder's 32-bit millisecond time to the session clock: unwraps it, anchors its first value at its arrival,
 * and starts anew when it jumps. Both tracks share one mapping, so that they keep their lip sync; while a jump has
 * reached only one of them, each keeps its own.
 */
export class EncoderClock {
  readonly #tracks = new Map<Track, TrackState>();
  #lastUnwrappedMs: number | undefined;
  #lastOutUs = Number.NEGATIVE_INFINITY;
  #lastArrivalUs = 0;
  #jumps = 0;
  #notBeforeUs = Number.NEGATIVE_INFINITY;
  #overlaps = false;
  #squeezedUs = Number.NEGATIVE_INFINITY;

  /** How often the encoder's time jumped. */
  get jumps(): number {
    return this.#jumps;
  }

  /**
   * The next value, of whichever track, begins a new time: it is anchored at its arrival, behind all there was.
   * @param overlapping it came before the end of what there was, and is anchored there: what lies in between is squeezed.
   */
  restart({ overlapping = false } = {}): void {
    this.#tracks.clear();
    this.#lastUnwrappedMs = undefined;
    this.#notBeforeUs = this.#lastOutUs;
    this.#overlaps = overlapping;
    this.#squeezedUs = overlapping ? this.#lastOutUs : Number.NEGATIVE_INFINITY;
  }

  /** Moves both tracks' time. */
  shift(byUs: number): void {
    for (const track of this.#tracks.values()) {
      track.offsetUs += byUs;
      track.lastOutUs += byUs;
    }
    this.#lastOutUs += byUs;
  }

  /** @param timestampMs unsigned 32 bit. @returns session time in µs; may repeat or step back a little, as sent. */
  toSessionUs(track: Track, timestampMs: number, arrivalUs: number): number {
    const unwrappedUs = this.#unwrap(timestampMs) * 1000;
    const offsetUs = this.#offset(track, unwrappedUs, arrivalUs);
    const outUs = unwrappedUs + offsetUs;
    this.#tracks.set(track, { offsetUs, lastOutUs: outUs, lastArrivalUs: arrivalUs });
    this.#lastOutUs = outUs;
    this.#lastArrivalUs = arrivalUs;
    if (outUs > this.#squeezedUs) {
      return outUs;
    }
    this.#squeezedUs += SQUEEZED_STEP_US;
    return this.#squeezedUs;
  }

  #unwrap(timestampMs: number): number {
    const last = this.#lastUnwrappedMs;
    this.#lastUnwrappedMs = last === undefined ? timestampMs : last + ((timestampMs - last) | 0);
    return this.#lastUnwrappedMs;
  }

  #offset(track: Track, unwrappedUs: number, arrivalUs: number): number {
    const own = this.#tracks.get(track);
    if (own !== undefined && this.#continues(own, unwrappedUs + own.offsetUs, arrivalUs)) {
      return own.offsetUs;
    }
    const other = this.#tracks.get(track === 'audio' ? 'video' : 'audio');
    if (other !== undefined && this.#isNear(unwrappedUs + other.offsetUs, arrivalUs)) {
      return other.offsetUs;
    }
    if (own === undefined && other === undefined) {
      return (this.#overlaps ? arrivalUs : Math.max(arrivalUs, this.#notBeforeUs)) - unwrappedUs;
    }
    this.#jumps++;
    return this.#lastOutUs + (arrivalUs - this.#lastArrivalUs) - unwrappedUs;
  }

  #continues(own: TrackState, outUs: number, arrivalUs: number): boolean {
    const stepUs = outUs - own.lastOutUs;
    return stepUs >= -MAX_STEP_BACK_US && stepUs <= arrivalUs - own.lastArrivalUs + MAX_LEAD_US;
  }

  #isNear(outUs: number, arrivalUs: number): boolean {
    const expectedUs = this.#lastOutUs + (arrivalUs - this.#lastArrivalUs);
    return Math.abs(outUs - expectedUs) <= MAX_LEAD_US;
  }
}

/** Keeps the times of one track rising: a repeated or earlier time becomes the one just behind the last. */
export class MonotonicTime {
  #lastUs = -Infinity;

  next(timeUs: number): number {
    this.#lastUs = Math.max(timeUs, this.#lastUs + 1_000);
    return this.#lastUs;
  }
}
