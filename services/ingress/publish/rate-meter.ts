/** Bits and packets per second over the time between two readings. */
export class RateMeter {
  #bytes = 0;
  #packets = 0;
  #sinceUs: number;

  constructor(nowUs: number) {
    this.#sinceUs = nowUs;
  }

  add(bytes: number): void {
    this.#bytes += bytes;
    this.#packets++;
  }

  /** Starts the next period. */
  read(nowUs: number): { bitsPerS: number; packetsPerS: number } {
    const seconds = (nowUs - this.#sinceUs) / 1e6;
    const rate = (count: number): number => (seconds > 0 ? count / seconds : 0);
    const result = { bitsPerS: Math.round(rate(this.#bytes * 8)), packetsPerS: rate(this.#packets) };
    this.#bytes = 0;
    this.#packets = 0;
    this.#sinceUs = nowUs;
    return result;
  }
}
