/** Milliseconds between ticks: the grain of NACK and transport feedback. */
export const TICK_MS = 10;

/** One timer for all peers of a port; a timer per peer and purpose would cost more than their packets. */
export class MediaTicker {
  readonly #listeners = new Set<(nowMs: number) => void>();
  #timer: NodeJS.Timeout | undefined;

  /** Calls back every tick with monotonic milliseconds until the returned function is called. */
  add(listener: (nowMs: number) => void): () => void {
    this.#listeners.add(listener);
    this.#timer ??= setInterval(() => {
      const nowMs = performance.now();
      for (const each of this.#listeners) {
        each(nowMs);
      }
    }, TICK_MS);
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size === 0) {
        clearInterval(this.#timer);
        this.#timer = undefined;
      }
    };
  }
}
