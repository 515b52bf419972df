import { readU16, readU24, readU32, writeU16, writeU24, writeU32 } from './bytes.ts';

/**
 * Transport-wide congestion control feedback, draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1.
 * Deltas tick at 250 µs, the reference time at 64 ms.
 */
export const FEEDBACK_TICK_US = 250;
export const REFERENCE_TICK_US = 64_000;
/** Marks a packet that did not arrive. */
export const NOT_RECEIVED = -0x8000_0000;

const HEADER_LENGTH = 20;
const MAX_RUN = 0x1fff;
const MAX_STATUS_COUNT = 0xffff;
/** Keeps one feedback packet well under an MTU even when every delta takes two bytes. */
const MAX_PACKETS_PER_FEEDBACK = 400;

const SYMBOL = { notReceived: 0, smallDelta: 1, largeDelta: 2 } as const;

export type TransportFeedback = {
  senderSsrc: number;
  mediaSsrc: number;
  baseSequence: number;
  feedbackCount: number;
  /** Signed 24 bits, unit 64 ms. */
  referenceTime: number;
  /** One entry per packet from baseSequence on: ticks since the previous received packet, or NOT_RECEIVED. */
  deltas: Int32Array;
};

/** Undefined when malformed. `bytes` is one RTCP packet of at least 12 bytes without padding. */
export function parseTransportFeedback(bytes: Buffer): TransportFeedback | undefined {
  const count = readU16(bytes, 14);
  if (bytes.length < HEADER_LENGTH || count === 0) {
    return undefined;
  }
  const symbols = new Uint8Array(count);
  let offset = HEADER_LENGTH;
  let filled = 0;
  while (filled < count) {
    if (offset + 2 > bytes.length) {
      return undefined;
    }
    const chunk = readU16(bytes, offset);
    offset += 2;
    if (chunk < 0x8000) {
      const run = Math.min(chunk & MAX_RUN, count - filled);
      if (run === 0) {
        return undefined;
      }
      symbols.fill((chunk >>> 13) & 3, filled, filled + run);
      filled += run;
    } else {
      const twoBits = (chunk & 0x4000) !== 0;
      const perChunk = twoBits ? 7 : 14;
      for (let index = 0; index < perChunk && filled < count; index += 1, filled += 1) {
        symbols[filled] = twoBits ? (chunk >>> (12 - index * 2)) & 3 : (chunk >>> (13 - index)) & 1;
      }
    }
  }
  const deltas = new Int32Array(count);
  for (let index = 0; index < count; index += 1) {
    const symbol = symbols[index];
    if (symbol === SYMBOL.smallDelta) {
      if (offset + 1 > bytes.length) {
        return undefined;
      }
      deltas[index] = bytes[offset] ?? 0;
      offset += 1;
    } else if (symbol === SYMBOL.largeDelta) {
      if (offset + 2 > bytes.length) {
        return undefined;
      }
      deltas[index] = (readU16(bytes, offset) << 16) >> 16;
      offset += 2;
    } else {
      deltas[index] = NOT_RECEIVED;
    }
  }
  return {
    senderSsrc: readU32(bytes, 4),
    mediaSsrc: readU32(bytes, 8),
    baseSequence: readU16(bytes, 12),
    referenceTime: (readU24(bytes, 16) << 8) >> 8,
    feedbackCount: bytes[19] ?? 0,
    deltas,
  };
}

export type Arrival = {
  /** Unwrapped transport-wide sequence number. */
  sequence: number;
  arrivalUs: number;
};

export type BuiltFeedback = {
  packet: Buffer;
  /** How many of the arrivals are in it. */
  consumed: number;
  /** Unwrapped; the next feedback starts here. */
  nextSequence: number;
};

/**
 * Builds one feedback packet from arrivals sorted by unwrapped sequence without duplicates, beginning at
 * `baseSequence` ≤ the first arrival. Ends early, to be called again with the rest, when the packet gets long or a delta
 * does not fit 16 bits.
 */
export function buildTransportFeedback(
  arrivals: readonly Arrival[],
  options: { senderSsrc: number; mediaSsrc: number; baseSequence: number; feedbackCount: number },
): BuiltFeedback | undefined {
  const [first] = arrivals;
  if (first === undefined || first.sequence - options.baseSequence >= MAX_STATUS_COUNT) {
    return undefined;
  }
  const reference = Math.floor(first.arrivalUs / REFERENCE_TICK_US);
  const symbols: number[] = [];
  const deltas: number[] = [];
  let previousUs = reference * REFERENCE_TICK_US;
  let consumed = 0;
  let next = options.baseSequence;
  for (const { sequence, arrivalUs } of arrivals) {
    const delta = Math.round((arrivalUs - previousUs) / FEEDBACK_TICK_US);
    const gap = sequence - next;
    if (
      delta < -0x8000 ||
      delta > 0x7fff ||
      symbols.length + gap >= MAX_STATUS_COUNT ||
      consumed >= MAX_PACKETS_PER_FEEDBACK
    ) {
      break;
    }
    for (; next < sequence; next += 1) {
      symbols.push(SYMBOL.notReceived);
    }
    symbols.push(delta >= 0 && delta <= 0xff ? SYMBOL.smallDelta : SYMBOL.largeDelta);
    deltas.push(delta);
    // The receiver sums rounded deltas, so the error must not add up.
    previousUs += delta * FEEDBACK_TICK_US;
    next = sequence + 1;
    consumed += 1;
  }
  const chunks = encodeChunks(symbols);
  const deltaBytes = deltas.reduce((sum, delta) => sum + (delta >= 0 && delta <= 0xff ? 1 : 2), 0);
  const used = HEADER_LENGTH + chunks.length * 2 + deltaBytes;
  const length = (used + 3) & ~3;
  const packet = Buffer.alloc(length);
  packet[0] = 0x8f;
  packet[1] = 205;
  if (length !== used) {
    packet[0] = 0xaf;
    packet[length - 1] = length - used;
  }
  writeU16(packet, 2, length / 4 - 1);
  writeU32(packet, 4, options.senderSsrc);
  writeU32(packet, 8, options.mediaSsrc);
  writeU16(packet, 12, options.baseSequence);
  writeU16(packet, 14, symbols.length);
  writeU24(packet, 16, reference);
  packet[19] = options.feedbackCount;
  let offset = HEADER_LENGTH;
  for (const chunk of chunks) {
    writeU16(packet, offset, chunk);
    offset += 2;
  }
  for (const delta of deltas) {
    if (delta >= 0 && delta <= 0xff) {
      packet[offset++] = delta;
    } else {
      writeU16(packet, offset, delta);
      offset += 2;
    }
  }
  return { packet, consumed, nextSequence: next };
}

/** Run-length chunks for long runs, else one-bit vectors where no large delta is in reach, else two-bit vectors. */
export function encodeChunks(symbols: readonly number[]): number[] {
  const chunks: number[] = [];
  let index = 0;
  while (index < symbols.length) {
    const symbol = symbols[index] ?? 0;
    let run = 1;
    while (run < MAX_RUN && symbols[index + run] === symbol) {
      run += 1;
    }
    if (run >= 14 || (run >= 7 && symbol === SYMBOL.largeDelta) || index + run === symbols.length) {
      chunks.push((symbol << 13) | run);
      index += run;
      continue;
    }
    const oneBit = symbols.slice(index, index + 14);
    if (oneBit.every((value) => value !== SYMBOL.largeDelta)) {
      chunks.push(oneBit.reduce((chunk, value, at) => chunk | (value << (13 - at)), 0x8000));
      index += 14;
    } else {
      const twoBit = symbols.slice(index, index + 7);
      chunks.push(twoBit.reduce((chunk, value, at) => chunk | (value << (12 - at * 2)), 0xc000));
      index += 7;
    }
  }
  return chunks;
}
