import type { FlvMessage } from './stream-link.ts';

/** The times of one connection: milliseconds since its first message. */
export class LinkClock {
  #baseUs: number | undefined;
  readonly #lastMs = { video: 0, audio: 0 };

  /** undefined: from before the start, left out. Within a track time never runs backwards, whatever the source did. */
  timestampMs({ kind, dtsUs }: FlvMessage): number | undefined {
    this.#baseUs ??= dtsUs;
    const elapsedMs = Math.round((dtsUs - this.#baseUs) / 1000);
    if (elapsedMs < 0 && this.#lastMs[kind] === 0) {
      return undefined;
    }
    this.#lastMs[kind] = Math.max(this.#lastMs[kind], elapsedMs);
    return this.#lastMs[kind] >>> 0;
  }
}
