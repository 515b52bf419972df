/** Arithmetic on wrapping counters (RFC 1982 style, as RTP uses it). */

/** Signed distance a − b of 16-bit sequence numbers, -32768 … 32767. */
export function sequenceDistance(a: number, b: number): number {
  return (((a - b) & 0xffff) ^ 0x8000) - 0x8000;
}

/** Signed distance a − b of 32-bit RTP timestamps. */
export function timestampDistance(a: number, b: number): number {
  return (a - b) | 0;
}

/**
 * Extends a wrapping 16-bit number to an ever-growing integer near the last one seen.
 * The first value is taken as it is; values before it may come out negative.
 */
export class SequenceUnwrapper {
  #last: number | undefined;

  unwrap(sequenceNumber: number): number {
    if (this.#last === undefined) {
      this.#last = sequenceNumber;
      return sequenceNumber;
    }
    const extended = this.#last + sequenceDistance(sequenceNumber, this.#last & 0xffff);
    if (extended > this.#last) {
      this.#last = extended;
    }
    return extended;
  }
}

/** The same for 32-bit RTP timestamps; the result stays a safe integer for thousands of years. */
export class TimestampUnwrapper {
  #last: number | undefined;

  unwrap(timestamp: number): number {
    if (this.#last === undefined) {
      this.#last = timestamp;
      return timestamp;
    }
    const extended = this.#last + timestampDistance(timestamp, this.#last % 0x1_0000_0000);
    if (extended > this.#last) {
      this.#last = extended;
    }
    return extended;
  }
}
