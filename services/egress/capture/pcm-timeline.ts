/** Sound that is later than this is taken to be missing; silence keeps the track going meanwhile. */
const MISSING_AFTER_US = 600_000;
/** Silence stops short of the present, so that late sound still finds its place. */
const KEEP_FREE_US = 400_000;
const BYTES_PER_SAMPLE = 4;

export type TimedPcm = { ptsUs: number; data: Uint8Array };

/**
 * Makes the sound of a session gapless from time 0: cuts what lies before 0, puts silence where nothing came.
 * Stereo, 16 bit. Jitter and drift of the capture clock pass through; the transcoder's timeline follows them.
 */
export class PcmTimeline {
  readonly #sampleRateHz: number;
  /** End of what was yielded so far. */
  #endUs = 0;

  constructor(sampleRateHz: number) {
    this.#sampleRateHz = sampleRateHz;
  }

  get endUs(): number {
    return this.#endUs;
  }

  /** Captured sound that starts at `ptsUs` (may be negative): what of it to write, with silence before it. */
  add(ptsUs: number, data: Uint8Array): TimedPcm[] {
    const durationUs = this.#durationUs(data);
    if (ptsUs + durationUs <= 0) {
      return [];
    }
    const first = this.#endUs === 0;
    const skipBytes = ptsUs < 0 ? this.#bytes(-ptsUs) : 0;
    const chunk = { ptsUs: Math.max(0, ptsUs), data: data.subarray(skipBytes) };
    const lead = first && chunk.ptsUs > 0 ? this.#silence(0, chunk.ptsUs) : [];
    this.#endUs = Math.max(this.#endUs, ptsUs + durationUs);
    return chunk.data.byteLength === 0 ? lead : [...lead, chunk];
  }

  /** Call regularly with the present session time: silence for sound that did not come. */
  fill(nowUs: number): TimedPcm[] {
    return nowUs - this.#endUs < MISSING_AFTER_US ? [] : this.fillUntil(nowUs - KEEP_FREE_US);
  }

  /** Silence up to `untilUs`, at the end of a recording. */
  fillUntil(untilUs: number): TimedPcm[] {
    if (untilUs <= this.#endUs) {
      return [];
    }
    const silence = this.#silence(this.#endUs, untilUs);
    this.#endUs = untilUs;
    return silence;
  }

  #silence(fromUs: number, untilUs: number): TimedPcm[] {
    const bytes = this.#bytes(untilUs - fromUs);
    return bytes === 0 ? [] : [{ ptsUs: fromUs, data: new Uint8Array(bytes) }];
  }

  #durationUs(data: Uint8Array): number {
    return (data.byteLength / BYTES_PER_SAMPLE / this.#sampleRateHz) * 1e6;
  }

  #bytes(durationUs: number): number {
    return Math.round((durationUs * this.#sampleRateHz) / 1e6) * BYTES_PER_SAMPLE;
  }
}
