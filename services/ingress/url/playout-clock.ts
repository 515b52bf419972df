import { setTimeout as delay } from 'node:timers/promises';
import { monotonicUs } from '../../base/clock.ts';

/** The input is given a moment to fill the queue before its first picture is shown. */
const START_DELAY_US = 100_000;
/** Media that is late by less is still sent with its own time. */
const TOLERATED_US = 100_000;
const SHORTEST_WAIT_MS = 2;

/** Paces recorded media to real time. After a stall it goes on where it stopped, that much later. */
export class PlayoutClock {
  readonly #nowUs: () => number;
  #offsetUs: number | undefined;

  constructor(nowUs: () => number = monotonicUs) {
    this.#nowUs = nowUs;
  }

  /**
   * Resolves when media of this time is due. @returns its time on the clock of this machine, in µs.
   * @throws AbortError
   */
  async due(mediaUs: number, signal: AbortSignal): Promise<number> {
    const nowUs = this.#nowUs();
    this.#offsetUs ??= nowUs + START_DELAY_US - mediaUs;
    if (mediaUs + this.#offsetUs < nowUs - TOLERATED_US) {
      this.#offsetUs = nowUs - mediaUs;
    }
    const dueUs = mediaUs + this.#offsetUs;
    const waitMs = (dueUs - nowUs) / 1000;
    if (waitMs >= SHORTEST_WAIT_MS) {
      await delay(waitMs, undefined, { signal });
    }
    signal.throwIfAborted();
    return dueUs;
  }
}
