import { ServiceError } from '../../base/errors.ts';
import { NAL_TYPE, nalType, type NalLengthSize } from './h264.ts';

/** AVCDecoderConfigurationRecord, ISO/IEC 14496-15 section 5.3.3.1: FLV's "AVC sequence header", MP4's avcC. */
export type AvcConfig = {
  lengthSize: NalLengthSize;
  /** NAL units without start codes; at least one each. */
  sps: readonly Uint8Array[];
  pps: readonly Uint8Array[];
};

/**
 * Checks every length and type; views into `data`.
 * @throws ServiceError malformed, naming the lie.
 */
export function parseAvcConfig(data: Uint8Array): AvcConfig {
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  if (bytes.length < 7) {
    throw malformed(`${bytes.length} bytes are too few`);
  }
  if (bytes[0] !== 1) {
    throw malformed(`version ${String(bytes[0])} instead of 1`);
  }
  const lengthSize = ((bytes[4] ?? 0) & 3) + 1;
  if (lengthSize === 3) {
    throw malformed('NAL unit lengths of 3 bytes do not exist');
  }
  const sps = readParameterSets(bytes, 5, (bytes[5] ?? 0) & 0x1f, NAL_TYPE.sps);
  if (sps.end >= bytes.length) {
    throw malformed('cut off before the picture parameter sets');
  }
  const pps = readParameterSets(bytes, sps.end, bytes[sps.end] ?? 0, NAL_TYPE.pps);
  return { lengthSize: lengthSize as NalLengthSize, sps: sps.units, pps: pps.units };
}

function readParameterSets(
  bytes: Buffer,
  countOffset: number,
  count: number,
  type: number,
): { units: Uint8Array[]; end: number } {
  const kind = type === NAL_TYPE.sps ? 'sequence' : 'picture';
  if (count === 0) {
    throw malformed(`no ${kind} parameter set`);
  }
  const units: Uint8Array[] = [];
  let offset = countOffset + 1;
  for (let i = 0; i < count; i++) {
    const length = offset + 2 <= bytes.length ? bytes.readUInt16BE(offset) : Infinity;
    const end = offset + 2 + length;
    if (end > bytes.length) {
      throw malformed(`${kind} parameter set ${i + 1} of ${count} is cut off`);
    }
    const unit = bytes.subarray(offset + 2, end);
    if (nalType(unit) !== type) {
      throw malformed(`${kind} parameter set ${i + 1} of ${count} has NAL unit type ${nalType(unit)}`);
    }
    units.push(unit);
    offset = end;
  }
  return { units, end: offset };
}

/** The record for one stream, with four-byte NAL unit lengths. @throws ServiceError malformed on an SPS under 4 bytes. */
export function buildAvcConfig(sps: readonly Uint8Array[], pps: readonly Uint8Array[]): Uint8Array {
  const [first] = sps;
  if (first === undefined || first.length < 4 || pps.length === 0) {
    throw malformed('needs a sequence and a picture parameter set');
  }
  return Buffer.concat([
    Buffer.from([1, first[1] ?? 0, first[2] ?? 0, first[3] ?? 0, 0xff, 0xe0 | sps.length]),
    ...sps.flatMap(withLength),
    Buffer.from([pps.length]),
    ...pps.flatMap(withLength),
  ]);
}

function withLength(unit: Uint8Array): Uint8Array[] {
  return [Uint8Array.of(unit.length >> 8, unit.length & 0xff), unit];
}

function malformed(detail: string): ServiceError {
  return new ServiceError('malformed', `H.264 decoder configuration (avcC): ${detail}`);
}
