/** A splice_insert command (SCTE 35 section 9.7.3): the program leaves for an advertisement, or is back. */
export type SpliceInsert = {
  eventId: number;
  outOfNetwork: boolean;
  /** Takes back an earlier one with this id. */
  cancelled: boolean;
  /** Of the stream's 90 kHz clock, 33 bits; undefined: at once. */
  ptsTicks: number | undefined;
};

const TABLE_ID = 0xfc;
const SPLICE_INSERT = 5;
const SECTION_HEADER_BYTES = 3;
const COMMAND_OFFSET = 14;
const CRC_BYTES = 4;
const TICKS_PER_WRAP = 2 ** 33;
const MAX_BUFFER_BYTES = 16_384;

/**
 * Takes splice commands out of splice_info_sections that follow each other. Sections that are encrypted, cut off, or have
 * another command are left out; what is no section at all is skipped.
 */
export class SpliceReader {
  #buffer: Buffer = Buffer.alloc(0);

  push(bytes: Uint8Array): SpliceInsert[] {
    this.#buffer = Buffer.concat([this.#buffer, bytes]);
    const found: SpliceInsert[] = [];
    while (this.#buffer.length >= SECTION_HEADER_BYTES) {
      const start = this.#buffer.indexOf(TABLE_ID);
      if (start === -1) {
        this.#buffer = Buffer.alloc(0);
        break;
      }
      this.#buffer = this.#buffer.subarray(start);
      if (this.#buffer.length < SECTION_HEADER_BYTES) {
        break;
      }
      const end = SECTION_HEADER_BYTES + (this.#buffer.readUInt16BE(1) & 0xfff);
      if (end > this.#buffer.length) {
        break;
      }
      const splice = parseSection(this.#buffer.subarray(0, end));
      this.#buffer = this.#buffer.subarray(end);
      if (splice !== undefined) {
        found.push(splice);
      }
    }
    if (this.#buffer.length > MAX_BUFFER_BYTES) {
      this.#buffer = Buffer.alloc(0);
    }
    return found;
  }
}

function parseSection(section: Buffer): SpliceInsert | undefined {
  const commandEnd = section.length - CRC_BYTES;
  if (commandEnd < COMMAND_OFFSET + 5 || section[13] !== SPLICE_INSERT) {
    return undefined;
  }
  const flagsByte = section.readUInt8(4);
  if ((flagsByte & 0x80) !== 0) {
    return undefined; // encrypted
  }
  const adjustment = (flagsByte & 1) * 2 ** 32 + section.readUInt32BE(5);
  const eventId = section.readUInt32BE(COMMAND_OFFSET);
  if ((section.readUInt8(COMMAND_OFFSET + 4) & 0x80) !== 0) {
    return { eventId, outOfNetwork: false, cancelled: true, ptsTicks: undefined };
  }
  if (commandEnd < COMMAND_OFFSET + 6) {
    return undefined;
  }
  const flags = section.readUInt8(COMMAND_OFFSET + 5);
  const outOfNetwork = (flags & 0x80) !== 0;
  if ((flags & 0x10) !== 0) {
    return { eventId, outOfNetwork, cancelled: false, ptsTicks: undefined };
  }
  // For the whole program, or for each of its components: they begin together, so the first one tells.
  const timeAt = COMMAND_OFFSET + ((flags & 0x40) !== 0 ? 6 : 8);
  return {
    eventId,
    outOfNetwork,
    cancelled: false,
    ptsTicks: spliceTime(section, timeAt, commandEnd, adjustment),
  };
}

/** splice_time(), section 9.8.1. */
function spliceTime(section: Buffer, at: number, end: number, adjustment: number): number | undefined {
  const isSpecified = at < end && (section.readUInt8(at) & 0x80) !== 0;
  return isSpecified && at + 5 <= end
    ? ((section.readUInt8(at) & 1) * 2 ** 32 + section.readUInt32BE(at + 1) + adjustment) % TICKS_PER_WRAP
    : undefined;
}

/**
 * Media time of a moment of the 90 kHz clock, which wraps every 26.5 hours. @param originUs time 0 on that clock.
 * @param nearUs of all the moments that look alike the one next to this media time.
 */
export function mediaTimeUs(ticks: number, originUs: number, nearUs = 0): number {
  const us = (ticks / 90_000) * 1e6 - originUs;
  const wrapUs = (TICKS_PER_WRAP / 90_000) * 1e6;
  return us - Math.round((us - nearUs) / wrapUs) * wrapUs;
}
