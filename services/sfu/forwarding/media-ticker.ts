import type { Logger } from '../../base/logger.ts';

/** Milliseconds between ticks: the grain of NACK and transport feedback. */
export const TICK_MS = 20;
/** Between ticks when nobody waits for anything but its periodic reports. */
const IDLE_TICK_MS = 250;
/** Idle ticks in a row before the clock slows down, so that it does not change its pace all the time. */
const TICKS_TO_IDLE = 10;

/** Gets monotonic milliseconds. True = something waits for the next tick, false = a tick now and then is enough. */
export type TickListener = (nowMs: number) => boolean;

/**
 * One timer for all peers of a port; a timer per peer and purpose would cost more than their packets. It runs slower
 * while no listener waits for it: every tick wakes the process.
 */
export class MediaTicker {
  readonly #listeners = new Set<TickListener>();
  readonly #logger: Logger;
  #timer: NodeJS.Timeout | undefined;
  #intervalMs = 0;
  #idleTicks = 0;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** Calls back every tick until the returned function is called. */
  add(listener: TickListener): () => void {
    this.#listeners.add(listener);
    this.hurry();
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size === 0) {
        clearInterval(this.#timer);
        this.#intervalMs = 0;
      }
    };
  }

  /** Something came up that must not wait for an idle tick. Cheap enough for every packet. */
  hurry(): void {
    this.#idleTicks = 0;
    if (this.#intervalMs !== TICK_MS && this.#listeners.size > 0) {
      this.#run(TICK_MS);
    }
  }

  #run(intervalMs: number): void {
    clearInterval(this.#timer);
    this.#intervalMs = intervalMs;
    this.#timer = setInterval(() => {
      this.#tick();
    }, intervalMs);
  }

  #tick(): void {
    const nowMs = performance.now();
    let isAwaited = false;
    for (const each of this.#listeners) {
      // One peer's fault must not stop the clock of all.
      try {
        isAwaited = each(nowMs) || isAwaited;
      } catch (error) {
        this.#logger.error({ err: error }, 'media tick failed');
      }
    }
    if (isAwaited) {
      this.hurry();
      return;
    }
    this.#idleTicks += 1;
    if (this.#idleTicks === TICKS_TO_IDLE && this.#listeners.size > 0) {
      this.#run(IDLE_TICK_MS);
    }
  }
}
