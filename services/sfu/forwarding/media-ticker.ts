import type { Logger } from '../../base/logger.ts';

/** Milliseconds between ticks: the grain of NACK and transport feedback. */
export const TICK_MS = 20;

/** One timer for all peers of a port; a timer per peer and purpose would cost more than their packets. */
export class MediaTicker {
  readonly #listeners = new Set<(nowMs: number) => void>();
  readonly #logger: Logger;
  #timer: NodeJS.Timeout | undefined;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** Calls back every tick with monotonic milliseconds until the returned function is called. */
  add(listener: (nowMs: number) => void): () => void {
    this.#listeners.add(listener);
    this.#timer ??= setInterval(() => {
      const nowMs = performance.now();
      for (const each of this.#listeners) {
        // One peer's fault must not stop the clock of all.
        try {
          each(nowMs);
        } catch (error) {
          this.#logger.error({ err: error }, 'media tick failed');
        }
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
