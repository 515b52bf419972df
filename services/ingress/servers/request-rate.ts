/** Above this many addresses the full buckets are forgotten. */
const SWEEP_SIZE = 10_000;

/** A token bucket per remote address. */
export class RequestRate {
  readonly #burst: number;
  readonly #perS: number;
  readonly #nowMs: () => number;
  readonly #buckets = new Map<string, { tokens: number; atMs: number }>();

  constructor(options: { burst: number; perS: number; nowMs?: () => number }) {
    this.#burst = options.burst;
    this.#perS = options.perS;
    this.#nowMs = options.nowMs ?? Date.now;
  }

  /** False when the address has to wait. */
  take(address: string): boolean {
    const nowMs = this.#nowMs();
    const bucket = this.#buckets.get(address) ?? { tokens: this.#burst, atMs: nowMs };
    bucket.tokens = this.#refilled(bucket, nowMs);
    bucket.atMs = nowMs;
    this.#buckets.set(address, bucket);
    if (this.#buckets.size > SWEEP_SIZE) {
      this.#sweep(nowMs);
    }
    if (bucket.tokens < 1) {
      return false;
    }
    bucket.tokens -= 1;
    return true;
  }

  #refilled({ tokens, atMs }: { tokens: number; atMs: number }, nowMs: number): number {
    return Math.min(this.#burst, tokens + ((nowMs - atMs) / 1000) * this.#perS);
  }

  #sweep(nowMs: number): void {
    for (const [address, bucket] of this.#buckets) {
      if (this.#refilled(bucket, nowMs) >= this.#burst) {
        this.#buckets.delete(address);
      }
    }
  }
}
