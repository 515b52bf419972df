import { ServiceError } from '../../base/errors.ts';
import { BitReader } from './bit-reader.ts';

/** obu_type, AV1 bitstream specification section 6.2.2. */
const OBU_TYPE = { sequenceHeader: 1, temporalDelimiter: 2 } as const;
const DELIMITER = Uint8Array.of((OBU_TYPE.temporalDelimiter << 3) | 2, 0);
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
    const headerBytes = (header & 4) === 0 ? 1 : 2;
    const size =
      (header & 2) === 0
        ? { value: data.length - offset - headerBytes, bytes: 0 }
        : readLeb128(data, offset + headerBytes);
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

/** av1C (AV1 in ISOBMFF section 2.3): the sequence header in it, empty when the encoder left it out. */
export function av1ConfigObus(config: Uint8Array): Uint8Array {
  if (config.length < CONFIG_FIXED_BYTES || config[0] !== 0x81) {
    throw malformed(`${config.length} bytes of configuration`);
  }
  return config.subarray(CONFIG_FIXED_BYTES);
}

/**
 * What a decoder takes as it comes: a delimiter in front, as Enhanced RTMP leaves it out, and the configured sequence
 * header in front of a key frame that has none.
 */
export function completeTemporalUnit(data: Uint8Array, key: boolean, configObus: Uint8Array): Uint8Array {
  const obus = splitObus(data).filter(({ type }) => type !== OBU_TYPE.temporalDelimiter);
  const lacks = key && !obus.some(({ type }) => type === OBU_TYPE.sequenceHeader);
  return Buffer.concat([DELIMITER, ...(lacks ? [configObus] : []), ...obus.map(({ bytes }) => bytes)]);
}

/** Largest picture of a sequence, section 5.5.1; undefined when no header tells it. @throws ServiceError malformed. */
export function av1SequenceSize(data: Uint8Array): { width: number; height: number } | undefined {
  const header = splitObus(data).find(({ type }) => type === OBU_TYPE.sequenceHeader);
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

function readLeb128(data: Uint8Array, start: number): { value: number; bytes: number } {
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
  throw malformed('a size field is cut off');
}

function malformed(detail: string): ServiceError {
  return new ServiceError('malformed', `AV1: ${detail}`);
}
