import { ServiceError } from '../../base/errors.ts';
import { BitReader } from './bit-reader.ts';

/** obu_type, AV1 bitstream specification section 6.2.2. */
export const AV1_OBU = {
  sequenceHeader: 1,
  temporalDelimiter: 2,
  frameHeader: 3,
  tileGroup: 4,
  metadata: 5,
  frame: 6,
  tileList: 8,
  padding: 15,
} as const;
/** In front of every temporal unit of a stream that is not in RTP or MP4. */
export const TEMPORAL_DELIMITER: Uint8Array = Uint8Array.of((AV1_OBU.temporalDelimiter << 3) | 2, 0);
/** obu_header bits, section 5.3.2. */
const HAS_EXTENSION = 4;
const HAS_SIZE = 2;
const CONFIG_FIXED_BYTES = 4;
const MAX_OBUS = 256;

export type Obu = {
  type: number;
  /** Header and size field included. */ bytes: Uint8Array;
  payload: Uint8Array;
};

/** The open bitstream units of a temporal unit; views into `data`. @throws ServiceError malformed. */
export function splitObus(data: Uint8Array): Obu[] {
  const obus: Obu[] = [];
  for (let offset = 0; offset < data.length;) {
    const header = data[offset] ?? 0;
    const headerBytes = (header & HAS_EXTENSION) === 0 ? 1 : 2;
    const size =
      (header & HAS_SIZE) === 0
        ? { value: data.length - offset - headerBytes, bytes: 0 }
        : readLeb128(data, offset + headerBytes);
    if (size === undefined) {
      throw malformed('a size field is cut off');
    }
    const start = offset + headerBytes + size.bytes;
    const end = start + size.value;
    if (end > data.length || size.value < 0 || obus.length === MAX_OBUS) {
      throw malformed(obus.length === MAX_OBUS ? `more than ${MAX_OBUS} OBUs` : 'an OBU is cut off');
    }
    obus.push({
      type: (header >> 3) & 15,
      bytes: data.subarray(offset, end),
      payload: data.subarray(start, end),
    });
    offset = end;
  }
  return obus;
}

/** The header of an OBU as it is in RTP: without the size field. */
export function obuHeader(obu: Uint8Array): Uint8Array {
  const first = obu[0] ?? 0;
  const header = Uint8Array.from(obu.subarray(0, (first & HAS_EXTENSION) === 0 ? 1 : 2));
  header[0] = first & ~HAS_SIZE;
  return header;
}

/** One whole OBU with a size field, which it may have already; undefined when it is malformed. */
export function sizedObu(obu: Uint8Array): Uint8Array | undefined {
  const first = obu[0];
  if (first === undefined) {
    return undefined;
  }
  const headerBytes = (first & HAS_EXTENSION) === 0 ? 1 : 2;
  if ((first & HAS_SIZE) !== 0) {
    const size = readLeb128(obu, headerBytes);
    return size !== undefined && headerBytes + size.bytes + size.value === obu.length ? obu : undefined;
  }
  if (obu.length < headerBytes) {
    return undefined;
  }
  const header = Uint8Array.from(obu.subarray(0, headerBytes));
  header[0] = first | HAS_SIZE;
  return Buffer.concat([header, writeLeb128(obu.length - headerBytes), obu.subarray(headerBytes)]);
}

/** Whether decoding can start with these OBUs: a sequence header, and a key frame as the first picture (section 5.9.2). */
export function isAv1KeyFrame(obus: readonly Uint8Array[]): boolean {
  const parsed = obus.flatMap((obu) => splitObus(obu));
  const picture = parsed.find(({ type }) => type === AV1_OBU.frame || type === AV1_OBU.frameHeader);
  // show_existing_frame and frame_type, which is 0 for a key frame.
  return (
    ((picture?.payload[0] ?? 0xff) & 0xe0) === 0 && parsed.some(({ type }) => type === AV1_OBU.sequenceHeader)
  );
}

export type Av1Config = {
  /** seq_profile: 0 is 4:2:0 (Main). */
  profile: number;
  bitDepth: 8 | 10 | 12;
  /** The sequence header, empty when the encoder left it out. */
  obus: Uint8Array;
};

/** av1C (AV1 in ISOBMFF section 2.3). @throws ServiceError malformed. */
export function parseAv1Config(config: Uint8Array): Av1Config {
  const [marker, level = 0, depth = 0] = config;
  if (config.length < CONFIG_FIXED_BYTES || marker !== 0x81) {
    throw malformed(`${config.length} bytes of configuration`);
  }
  const [high, twelve] = [(depth & 0x40) !== 0, (depth & 0x20) !== 0];
  return {
    profile: level >> 5,
    bitDepth: high ? (twelve ? 12 : 10) : 8,
    obus: config.subarray(CONFIG_FIXED_BYTES),
  };
}

/**
 * What a decoder takes as it comes: a delimiter in front, as Enhanced RTMP leaves it out, and the configured sequence
 * header in front of a key frame that has none.
 */
export function completeTemporalUnit(data: Uint8Array, key: boolean, configObus: Uint8Array): Uint8Array {
  const obus = splitObus(data).filter(({ type }) => type !== AV1_OBU.temporalDelimiter);
  const lacks = key && !obus.some(({ type }) => type === AV1_OBU.sequenceHeader);
  const sized = obus.map(({ bytes }) => sizedObu(bytes) ?? bytes);
  return Buffer.concat([TEMPORAL_DELIMITER, ...(lacks ? [configObus] : []), ...sized]);
}

/** Largest picture of a sequence, section 5.5.1; undefined when no header tells it. @throws ServiceError malformed. */
export function av1SequenceSize(data: Uint8Array): { width: number; height: number } | undefined {
  const header = splitObus(data).find(({ type }) => type === AV1_OBU.sequenceHeader);
  if (header === undefined) {
    return undefined;
  }
  const bits = new BitReader(header.payload, 'AV1 sequence header');
  bits.skip(3 + 1);
  const reduced = bits.flag();
  if (reduced) {
    bits.skip(5);
  } else {
    if (bits.flag()) {
      return undefined; // timing information: rare, and long
    }
    const hasDelay = bits.flag();
    const points = bits.bits(5) + 1;
    for (let point = 0; point < points; point++) {
      bits.skip(12);
      if (bits.bits(5) > 7) {
        bits.skip(1);
      }
      if (hasDelay && bits.flag()) {
        bits.skip(4);
      }
    }
  }
  const widthBits = bits.bits(4) + 1;
  const heightBits = bits.bits(4) + 1;
  return { width: bits.bits(widthBits) + 1, height: bits.bits(heightBits) + 1 };
}

/** Section 4.10.5; undefined when it is cut off. */
export function readLeb128(data: Uint8Array, start: number): { value: number; bytes: number } | undefined {
  let value = 0;
  for (let i = 0; i < 8; i++) {
    const byte = data[start + i];
    if (byte === undefined) {
      break;
    }
    value += (byte & 0x7f) * 2 ** (7 * i);
    if ((byte & 0x80) === 0) {
      return { value, bytes: i + 1 };
    }
  }
  return undefined;
}

export function writeLeb128(value: number): Uint8Array {
  const bytes: number[] = [];
  for (let rest = value; bytes.length === 0 || rest > 0; rest = Math.floor(rest / 128)) {
    bytes.push((rest % 128) | (rest >= 128 ? 0x80 : 0));
  }
  return Uint8Array.from(bytes);
}

function malformed(detail: string): ServiceError {
  return new ServiceError('malformed', `AV1: ${detail}`);
}
