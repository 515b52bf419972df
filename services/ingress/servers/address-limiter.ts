const WINDOW_MS = 60_000;

type AddressRecord = { open: number; failures: number; windowStartMs: number };

export type AddressLimits = {
  maxConnections: number;
  maxConnectionsPerAddress: number;
  maxFailuresPerAddressPerMinute: number;
};

/** Counts open connections and wrong stream keys per remote address. Forgets an address once it is idle and clean. */
export class AddressLimiter {
  readonly #limits: AddressLimits;
  readonly #records = new Map<string, AddressRecord>();
  readonly #nowMs: () => number;
  #open = 0;
  #lastSweepMs = -Infinity;

  constructor(limits: AddressLimits, nowMs: () => number = Date.now) {
    this.#limits = limits;
    this.#nowMs = nowMs;
  }

  /** Why one more connection is refused; undefined = admitted, and `release` must follow. */
  admit(address: string): string | undefined {
    return this.isBlocked(address) ? 'too many failed attempts from this address' : this.open(address);
  }

  /** The same without a look at failed attempts, for protocols that answer a blocked client. */
  open(address: string): string | undefined {
    const record = this.#record(address);
    if (this.#open >= this.#limits.maxConnections) {
      return 'too many connections';
    }
    if (record.open >= this.#limits.maxConnectionsPerAddress) {
      return 'too many connections from this address';
    }
    record.open++;
    this.#open++;
    return undefined;
  }

  /** True while the address has used up its attempts; for connections that may try several times. */
  isBlocked(address: string): boolean {
    return this.#record(address).failures >= this.#limits.maxFailuresPerAddressPerMinute;
  }

  fail(address: string): void {
    this.#record(address).failures++;
  }

  release(address: string): void {
    this.#open--;
    this.#record(address).open--;
    this.#sweep();
  }

  #record(address: string): AddressRecord {
    const nowMs = this.#nowMs();
    let record = this.#records.get(address);
    if (record === undefined) {
      record = { open: 0, failures: 0, windowStartMs: nowMs };
      this.#records.set(address, record);
    } else if (nowMs - record.windowStartMs > WINDOW_MS) {
      record.failures = 0;
      record.windowStartMs = nowMs;
    }
    return record;
  }

  #sweep(): void {
    const nowMs = this.#nowMs();
    if (nowMs - this.#lastSweepMs < WINDOW_MS) {
      return;
    }
    this.#lastSweepMs = nowMs;
    for (const [address, record] of this.#records) {
      if (record.open === 0 && nowMs - record.windowStartMs > WINDOW_MS) {
        this.#records.delete(address);
      }
    }
  }
}
