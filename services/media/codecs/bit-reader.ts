import { ServiceError } from '../../base/errors.ts';

/** Reads bits most significant first. Reading past the end throws ServiceError malformed, it never returns zeros. */
export class BitReader {
  readonly #data: Uint8Array;
  readonly #what: string;
  #position = 0;

  /** @param what names the structure in error messages. */
  constructor(data: Uint8Array, what: string) {
    this.#data = data;
    this.#what = what;
  }

  get remainingBits(): number {
    return this.#data.length * 8 - this.#position;
  }

  /** Unsigned, `count` 0 … 32. */
  bits(count: number): number {
    if (count > this.remainingBits) {
      throw new ServiceError('malformed', `${this.#what} is cut off after ${this.#data.length} bytes`);
    }
    let value = 0;
    for (let i = 0; i < count; i++, this.#position++) {
      const byte = this.#data[this.#position >> 3] ?? 0;
      value = value * 2 + ((byte >> (7 - (this.#position & 7))) & 1);
    }
    return value;
  }

  flag(): boolean {
    return this.bits(1) === 1;
  }

  skip(count: number): void {
    if (count > this.remainingBits) {
      throw new ServiceError('malformed', `${this.#what} is cut off after ${this.#data.length} bytes`);
    }
    this.#position += count;
  }

  /** ue(v), Rec. ITU-T H.264 section 9.1. */
  unsignedExpGolomb(): number {
    let leadingZeros = 0;
    while (!this.flag()) {
      leadingZeros++;
      if (leadingZeros > 31) {
        throw new ServiceError('malformed', `${this.#what} holds a number above 32 bits`);
      }
    }
    return 2 ** leadingZeros - 1 + this.bits(leadingZeros);
  }

  /** se(v), Rec. ITU-T H.264 section 9.1.1. */
  signedExpGolomb(): number {
    const code = this.unsignedExpGolomb();
    return code % 2 === 0 ? -(code / 2) : (code + 1) / 2;
  }
}
