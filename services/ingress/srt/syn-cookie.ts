import { createHmac, randomBytes } from 'node:crypto';

/** A cookie is good for at least one and at most two of these. */
const PERIOD_MS = 30_000;

/**
 * Proof that a caller receives at the address it sends from, without remembering it (draft-sharabayko-srt-01 section
 * 4.3.1.1): nothing is spent on a forged address but an answer as long as the question.
 */
export class SynCookie {
  readonly #secret = randomBytes(32);
  readonly #nowMs: () => number;

  constructor(nowMs: () => number = Date.now) {
    this.#nowMs = nowMs;
  }

  /** @param caller its address, port and socket id. */
  make(caller: string): number {
    return this.#of(caller, Math.floor(this.#nowMs() / PERIOD_MS));
  }

  isGood(caller: string, cookie: number): boolean {
    const period = Math.floor(this.#nowMs() / PERIOD_MS);
    return cookie === this.#of(caller, period) || cookie === this.#of(caller, period - 1);
  }

  #of(caller: string, period: number): number {
    return createHmac('sha256', this.#secret).update(`${period} ${caller}`).digest().readUInt32BE(0);
  }
}
