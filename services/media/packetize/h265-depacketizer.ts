import { H265_NAL_TYPE, h265NalType } from '../codecs/h265.ts';
import { joinAnnexBPieces } from './annex-b-pieces.ts';
import type { AssembledFrame, Depacketizer } from './depacketizer-types.ts';
import { H265_HEADER_LENGTH, H265_RTP_NAL, isH265Picture, withH265Type } from './h265-rtp.ts';

/** A NAL unit in pieces: fragments are not joined before the frame is. */
type Unit = { type: number; pieces: Uint8Array[] };
const PARAMETER_SETS = [H265_NAL_TYPE.vps, H265_NAL_TYPE.sps, H265_NAL_TYPE.pps] as const;

/**
 * RFC 7798 without DONL fields: single NAL units, aggregation packets, fragmentation units. Gives Annex B access units;
 * a key frame whose parameter sets came earlier gets the latest ones put in front.
 */
export class H265Depacketizer implements Depacketizer {
  readonly framePerPacket = false;
  /** By type: encoders of live streams use one set of each. */
  readonly #sets = new Map<number, Uint8Array>();

  isFrameStart(payload: Uint8Array): boolean {
    const type = h265NalType(payload);
    if (type === H265_RTP_NAL.fragmentation) {
      const header = payload[2] ?? 0;
      return (header & 0x80) !== 0 && beginsPicture(header & 0x3f, payload[3] ?? 0);
    }
    return type === H265_RTP_NAL.aggregation
      ? beginsPicture(h265NalType(payload.subarray(4)), payload[6] ?? 0)
      : beginsPicture(type, payload[2] ?? 0);
  }

  assemble(payloads: readonly Uint8Array[]): AssembledFrame | 'empty' | undefined {
    const units = readUnits(payloads);
    if (units === undefined) {
      return undefined;
    }
    const types = new Set(units.map(({ type }) => type));
    for (const { type, pieces } of units) {
      const [bytes] = pieces;
      if (bytes !== undefined && pieces.length === 1 && PARAMETER_SETS.some((set) => set === type)) {
        this.#sets.set(type, bytes);
      }
    }
    if (!units.some(({ type }) => isH265Picture(type))) {
      return 'empty';
    }
    const key = [...types].some((type) => type >= H265_NAL_TYPE.irapFirst && type <= H265_NAL_TYPE.irapLast);
    const pieces = units.map((unit) => unit.pieces);
    if (key) {
      const missing = PARAMETER_SETS.filter((type) => !types.has(type));
      const known = missing.flatMap((type) => this.#sets.get(type) ?? []);
      if (known.length < missing.length) {
        return undefined;
      }
      pieces.unshift(...known.map((set) => [set]));
    }
    return { data: joinAnnexBPieces(pieces), key };
  }
}

/** The first slice segment says so in its first bit (section 7.3.6.1 of H.265). */
function beginsPicture(type: number, firstPayloadByte: number): boolean {
  return isH265Picture(type)
    ? (firstPayloadByte & 0x80) !== 0
    : type <= H265_NAL_TYPE.accessUnitDelimiter || type === H265_NAL_TYPE.prefixSei;
}

function readUnits(payloads: readonly Uint8Array[]): Unit[] | undefined {
  const units: Unit[] = [];
  let fragments: Unit | undefined;
  for (const payload of payloads) {
    const type = h265NalType(payload);
    if (
      payload.length <= H265_HEADER_LENGTH ||
      (fragments !== undefined && type !== H265_RTP_NAL.fragmentation)
    ) {
      return undefined;
    }
    if (type === H265_RTP_NAL.fragmentation) {
      const header = payload[H265_HEADER_LENGTH] ?? 0;
      const isStart = (header & 0x80) !== 0;
      if (isStart === (fragments !== undefined) || payload.length < 4) {
        return undefined;
      }
      fragments ??= {
        type: header & 0x3f,
        pieces: [Uint8Array.from(withH265Type(payload, header & 0x3f))],
      };
      fragments.pieces.push(payload.subarray(H265_HEADER_LENGTH + 1));
      if ((header & 0x40) !== 0) {
        units.push(fragments);
        fragments = undefined;
      }
    } else if (type === H265_RTP_NAL.aggregation) {
      if (!readAggregate(payload, units)) {
        return undefined;
      }
    } else if (type < H265_RTP_NAL.aggregation) {
      units.push({ type, pieces: [payload] });
    } else {
      return undefined;
    }
  }
  return fragments === undefined ? units : undefined;
}

function readAggregate(payload: Uint8Array, units: Unit[]): boolean {
  let offset = H265_HEADER_LENGTH;
  while (offset + 2 <= payload.length) {
    const length = ((payload[offset] ?? 0) << 8) | (payload[offset + 1] ?? 0);
    const start = offset + 2;
    if (length <= H265_HEADER_LENGTH || start + length > payload.length) {
      return false;
    }
    const bytes = payload.subarray(start, start + length);
    units.push({ type: h265NalType(bytes), pieces: [bytes] });
    offset = start + length;
  }
  return offset === payload.length;
}
