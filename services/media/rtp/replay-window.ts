/** Packets that may arrive late before they count as replayed; RFC 3711 §3.3.2 asks for at least 64. */
const WINDOW_BITS = 1024;
const WINDOW_MASK = WINDOW_BITS - 1;

/** Sliding window over packet indices. Check before authentication, mark after it. */
export class ReplayWindow {
  readonly #bits = new Int32Array(WINDOW_BITS / 32);
  #highest = -1;

  get highest(): number {
    return this.#highest;
  }

  /** True when the index is new and not older than the window. */
  accepts(index: number): boolean {
    if (index > this.#highest) {
      return true;
    }
    if (this.#highest - index >= WINDOW_BITS) {
      return false;
    }
    const bit = index & WINDOW_MASK;
    return ((this.#bits[bit >>> 5] ?? 0) & (1 << (bit & 31))) === 0;
  }

  mark(index: number): void {
    if (index > this.#highest) {
      if (this.#highest < 0 || index - this.#highest >= WINDOW_BITS) {
        this.#bits.fill(0);
      } else {
        for (let skipped = this.#highest + 1; skipped < index; skipped += 1) {
          this.#clear(skipped);
        }
      }
      this.#highest = index;
    }
    const bit = index & WINDOW_MASK;
    this.#bits[bit >>> 5] = (this.#bits[bit >>> 5] ?? 0) | (1 << (bit & 31));
  }

  #clear(index: number): void {
    const bit = index & WINDOW_MASK;
    this.#bits[bit >>> 5] = (this.#bits[bit >>> 5] ?? 0) & ~(1 << (bit & 31));
  }
}
