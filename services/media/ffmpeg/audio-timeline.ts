/** Input that is this far off the running clock is a hole or an overlap, not jitter. */
export const GAP_US = 60_000;
/** Longer holes are jumped over instead of being filled with silence. */
const MAX_SILENCE_US = 30_000_000;
/** Share of each deviation that the clock follows: slow enough to be inaudible, faster than any crystal drifts. */
const SLEW = 1 / 128;

export type TimelineStep = {
  /** Samples of silence to encode before the chunk. */
  silenceSamples: number;
  /** Samples to leave out at the start of the chunk; the whole chunk when it lies in the past. */
  skipSamples: number;
};

type Segment = { fromPositionUs: number; offsetUs: number };

/**
 * Ties the sample count of an encoder to the session clock. Position 0 is the first sample written; `ptsAt` says when
 * a position is heard. Small deviations of the input clock are followed slowly, so a sound card that runs fast or slow
 * never drifts away from the picture; holes are filled with silence or jumped over.
 */
export class AudioTimeline {
  readonly #sampleRateHz: number;
  readonly #onHole: 'fill' | 'jump';
  #writtenSamples = 0;
  /** Inside an overlap: trimmed until the chunks are exactly on time again. */
  #trimming = false;
  readonly #segments: Segment[] = [];

  constructor(sampleRateHz: number, onHole: 'fill' | 'jump') {
    this.#sampleRateHz = sampleRateHz;
    this.#onHole = onHole;
  }

  /** Call before writing a chunk of `samples` that starts at `ptsUs`; the chunk counts as written afterwards. */
  advance(ptsUs: number, samples: number): TimelineStep {
    const current = this.#segments.at(-1);
    if (current === undefined) {
      this.#segments.push({ fromPositionUs: 0, offsetUs: ptsUs });
      this.#writtenSamples = samples;
      return { silenceSamples: 0, skipSamples: 0 };
    }
    const positionUs = this.#positionUs();
    const deviationUs = ptsUs - (positionUs + current.offsetUs);
    let step: TimelineStep = { silenceSamples: 0, skipSamples: 0 };
    if (this.#trimming && deviationUs < 0) {
      step = { silenceSamples: 0, skipSamples: Math.min(samples, this.#samples(-deviationUs)) };
    } else if (Math.abs(deviationUs) <= GAP_US) {
      this.#trimming = false;
      current.offsetUs += deviationUs * SLEW;
    } else if (this.#onHole === 'fill' && deviationUs > 0 && deviationUs <= MAX_SILENCE_US) {
      step = { silenceSamples: this.#samples(deviationUs), skipSamples: 0 };
    } else if (this.#onHole === 'fill' && deviationUs < 0) {
      this.#trimming = true;
      step = { silenceSamples: 0, skipSamples: Math.min(samples, this.#samples(-deviationUs)) };
    } else {
      this.#segments.push({ fromPositionUs: positionUs, offsetUs: ptsUs - positionUs });
    }
    this.#writtenSamples += step.silenceSamples + samples - step.skipSamples;
    return step;
  }

  /** Session time of a position; ask in rising order, older segments are forgotten. */
  ptsAt(positionUs: number): number {
    let segment = this.#segments[0];
    for (let next = this.#segments[1]; next !== undefined; next = this.#segments[1]) {
      if (next.fromPositionUs > positionUs) {
        break;
      }
      this.#segments.shift();
      segment = next;
    }
    return Math.round(positionUs + (segment?.offsetUs ?? 0));
  }

  #positionUs(): number {
    return (this.#writtenSamples * 1e6) / this.#sampleRateHz;
  }

  #samples(durationUs: number): number {
    return Math.round((durationUs * this.#sampleRateHz) / 1e6);
  }
}
