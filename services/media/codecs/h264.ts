import { ServiceError } from '../../base/errors.ts';
import { BitReader } from './bit-reader.ts';

/** nal_unit_type, Rec. ITU-T H.264 table 7-1. */
export const NAL_TYPE = {
  slice: 1,
  sliceDataPartitionA: 2,
  idr: 5,
  sei: 6,
  sps: 7,
  pps: 8,
  accessUnitDelimiter: 9,
  endOfSequence: 10,
  endOfStream: 11,
  fillerData: 12,
} as const;

const START_CODE = Uint8Array.of(0, 0, 0, 1);
const SHORT_START_CODE = Buffer.from([0, 0, 1]);

/** nal_unit_type of a NAL unit without start code; 0 (unspecified) when it is empty. */
export function nalType(nal: Uint8Array): number {
  return (nal[0] ?? 0) & 0x1f;
}

/**
 * NAL units of an Annex B byte stream, as views. Bytes before the first start code and the zeros around start codes
 * are left out; empty units too. Never throws.
 */
export function splitAnnexB(data: Uint8Array): Uint8Array[] {
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  const nals: Uint8Array[] = [];
  let startCode = bytes.indexOf(SHORT_START_CODE);
  while (startCode !== -1) {
    const start = startCode + SHORT_START_CODE.length;
    const next = bytes.indexOf(SHORT_START_CODE, start);
    let end = next === -1 ? bytes.length : next;
    while (end > start && bytes[end - 1] === 0) {
      end--;
    }
    if (end > start) {
      nals.push(data.subarray(start, end));
    }
    startCode = next;
  }
  return nals;
}

/** An Annex B byte stream with four-byte start codes, in one new buffer. */
export function joinAnnexB(nals: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(nals.reduce((sum, nal) => sum + nal.length + START_CODE.length, 0));
  let offset = 0;
  for (const nal of nals) {
    out.set(START_CODE, offset);
    out.set(nal, offset + START_CODE.length);
    offset += nal.length + START_CODE.length;
  }
  return out;
}

/** Bytes of the length in front of each NAL unit in MP4 and FLV (avcC's lengthSizeMinusOne + 1). */
export type NalLengthSize = 1 | 2 | 4;

/**
 * NAL units of a length-prefixed access unit (ISO/IEC 14496-15 section 5.3.4.2), as views; empty units are left out.
 * @throws ServiceError malformed when a length points behind the end.
 */
export function splitLengthPrefixed(data: Uint8Array, lengthSize: NalLengthSize): Uint8Array[] {
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  const nals: Uint8Array[] = [];
  let offset = 0;
  while (offset < bytes.length) {
    const start = offset + lengthSize;
    const length = start <= bytes.length ? bytes.readUIntBE(offset, lengthSize) : Infinity;
    if (start + length > bytes.length) {
      throw new ServiceError(
        'malformed',
        `H.264 NAL unit at byte ${offset} is longer than the ${bytes.length} bytes of its access unit`,
      );
    }
    if (length > 0) {
      nals.push(data.subarray(start, start + length));
    }
    offset = start + length;
  }
  return nals;
}

/**
 * Turns an access unit with four-byte lengths into Annex B without copying: every length becomes a start code.
 * `nals` must be views into `data` and fill it together with their lengths.
 */
export function replaceLengthsByStartCodes(data: Uint8Array, nals: readonly Uint8Array[]): void {
  for (const nal of nals) {
    data.set(START_CODE, nal.byteOffset - data.byteOffset - START_CODE.length);
  }
}

/** A length-prefixed access unit with four-byte lengths, in one new buffer. */
export function joinLengthPrefixed(nals: readonly Uint8Array[]): Buffer {
  const out = Buffer.alloc(nals.reduce((sum, nal) => sum + nal.length + 4, 0));
  let offset = 0;
  for (const nal of nals) {
    out.writeUInt32BE(nal.length, offset);
    out.set(nal, offset + 4);
    offset += nal.length + 4;
  }
  return out;
}

/** True when decoding can start at this access unit: it holds an IDR slice. */
export function isKeyframe(nals: readonly Uint8Array[]): boolean {
  return nals.some((nal) => nalType(nal) === NAL_TYPE.idr);
}

const CARRIES_NOTHING: ReadonlySet<number> = new Set([
  NAL_TYPE.accessUnitDelimiter,
  NAL_TYPE.endOfSequence,
  NAL_TYPE.endOfStream,
  NAL_TYPE.fillerData,
]);

/** Drops delimiters, end marks and filler: RTP frames access units by itself (RFC 6184 section 5.4). */
export function withoutDelimiters(nals: readonly Uint8Array[]): Uint8Array[] {
  return nals.filter((nal) => !CARRIES_NOTHING.has(nalType(nal)));
}

export type SliceType = 'P' | 'B' | 'I' | 'SP' | 'SI';
const SLICE_TYPES: readonly SliceType[] = ['P', 'B', 'I', 'SP', 'SI'];
/** Two Exp-Golomb numbers of at most 63 bits each fit; a header longer than this is garbage. */
const SLICE_HEADER_BYTES = 24;

/** slice_type (section 7.4.3) of a coded slice; undefined for other NAL units and for garbage. */
export function sliceType(nal: Uint8Array): SliceType | undefined {
  const type = nalType(nal);
  if (type !== NAL_TYPE.slice && type !== NAL_TYPE.idr && type !== NAL_TYPE.sliceDataPartitionA) {
    return undefined;
  }
  try {
    const bits = new BitReader(unescapeRbsp(nal.subarray(1, 1 + SLICE_HEADER_BYTES)), 'H.264 slice header');
    bits.unsignedExpGolomb(); // first_mb_in_slice
    return SLICE_TYPES[bits.unsignedExpGolomb() % 5];
  } catch {
    return undefined;
  }
}

/** Takes the emulation prevention bytes out of a NAL unit's payload (section 7.4.1.1). */
export function unescapeRbsp(payload: Uint8Array): Uint8Array {
  const out = new Uint8Array(payload.length);
  let length = 0;
  let zeros = 0;
  for (const byte of payload) {
    if (zeros >= 2 && byte === 3) {
      zeros = 0;
      continue;
    }
    zeros = byte === 0 ? zeros + 1 : 0;
    out[length++] = byte;
  }
  return out.subarray(0, length);
}
