import { ServiceError } from '../../services/base/errors.ts';

/** Repeatable pseudo-random numbers (mulberry32) with the operations a structure-aware fuzzer needs. */
export class SeededRandom {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** In [0, 1). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  /** Integer in [0, limit). */
  int(limit: number): number {
    return Math.floor(this.next() * limit);
  }

  pick<T>(items: readonly T[]): T {
    return items[this.int(items.length)] as T;
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.int(256));
  }

  /** A copy with up to four faults: flipped bits, extreme bytes, cuts, insertions, repeats. */
  damage(data: Uint8Array): Uint8Array {
    let out = Array.from(data);
    for (let fault = this.int(4); fault >= 0; fault--) {
      const at = this.int(out.length + 1);
      switch (this.int(5)) {
        case 0:
          out[at] = (out[at] ?? 0) ^ (1 << this.int(8));
          break;
        case 1:
          out[at] = this.pick([0, 1, 0x7f, 0x80, 0xff]);
          break;
        case 2:
          out = out.slice(0, at);
          break;
        case 3:
          out.splice(at, 0, ...this.bytes(this.int(8)));
          break;
        default:
          out.splice(at, 0, ...out.slice(at, at + this.int(16)));
      }
    }
    return Uint8Array.from(out);
  }
}

/**
 * Runs `attempt` many times. A ServiceError is a proper refusal; everything else that is thrown, and every `false`, is
 * a fault.
 * @returns the faults, at most ten.
 */
export function fuzz(cases: number, attempt: (index: number) => boolean): string[] {
  const faults: string[] = [];
  for (let index = 0; index < cases && faults.length < 10; index++) {
    try {
      if (!attempt(index)) {
        faults.push(`case ${index}: wrong result`);
      }
    } catch (error) {
      if (!(error instanceof ServiceError)) {
        faults.push(`case ${index}: ${String(error)}`);
      }
    }
  }
  return faults;
}
