import { NAL_TYPE, nalType } from '../codecs/h264.ts';
import { joinAnnexBPieces } from './annex-b-pieces.ts';
import type { AssembledFrame, Depacketizer } from './depacketizer-types.ts';
import { RTP_NAL, isVideoCodingLayer } from './h264-rtp.ts';

/** More parameter sets than any encoder uses; bounds what a sender can make us keep. */
const MAX_PARAMETER_SETS = 32;

/** A NAL unit in pieces: FU-A fragments are not joined before the frame is. */
type Unit = { type: number; pieces: Uint8Array[] };

/**
 * RFC 6184 modes 0 and 1: single NAL units, STAP-A, FU-A. Gives Annex B access units; a key frame whose parameter sets
 * came earlier gets them put in front.
 */
export class H264Depacketizer implements Depacketizer {
  readonly framePerPacket = false;
  readonly #sps = new Map<string, Uint8Array>();
  readonly #pps = new Map<string, Uint8Array>();

  isFrameStart(payload: Uint8Array): boolean {
    const type = nalType(payload);
    if (type === RTP_NAL.fuA) {
      const header = payload[1] ?? 0;
      return (header & 0x80) !== 0 && beginsPicture(header & 0x1f, payload[2] ?? 0);
    }
    if (type === RTP_NAL.stapA) {
      return beginsPicture((payload[3] ?? 0) & 0x1f, payload[4] ?? 0);
    }
    return beginsPicture(type, payload[1] ?? 0);
  }

  assemble(payloads: readonly Uint8Array[]): AssembledFrame | 'empty' | undefined {
    const units = readUnits(payloads);
    if (units === undefined) {
      return undefined;
    }
    let key = false;
    let picture = false;
    let hasSps = false;
    let hasPps = false;
    for (const unit of units) {
      if (unit.type === NAL_TYPE.sps) {
        hasSps = true;
        remember(this.#sps, unit);
      } else if (unit.type === NAL_TYPE.pps) {
        hasPps = true;
        remember(this.#pps, unit);
      }
      key ||= unit.type === NAL_TYPE.idr;
      picture ||= isVideoCodingLayer(unit.type);
    }
    if (!picture) {
      return 'empty';
    }
    const pieces = units.map((unit) => unit.pieces);
    if (key && !(hasSps && hasPps)) {
      if ((!hasSps && this.#sps.size === 0) || (!hasPps && this.#pps.size === 0)) {
        return undefined;
      }
      const missing = [...(hasSps ? [] : this.#sps.values()), ...(hasPps ? [] : this.#pps.values())];
      // A PPS refers to an SPS, so cached sets go behind the SPS that came with the frame.
      const at = hasSps ? units.findLastIndex((unit) => unit.type === NAL_TYPE.sps) + 1 : 0;
      pieces.splice(at, 0, ...missing.map((set) => [set]));
    }
    return { data: joinAnnexBPieces(pieces), key };
  }
}

/** A slice begins a picture when first_mb_in_slice is 0: ue(v) 0 is a single 1 bit (§7.3.3). */
function beginsPicture(type: number, firstPayloadByte: number): boolean {
  if (type === NAL_TYPE.slice || type === NAL_TYPE.idr) {
    return (firstPayloadByte & 0x80) !== 0;
  }
  return type >= NAL_TYPE.sei && type <= NAL_TYPE.accessUnitDelimiter;
}

/** Sets are told apart by their content's start: profile, level and id for an SPS, the id bits for a PPS. */
function remember(sets: Map<string, Uint8Array>, unit: Unit): void {
  const [bytes] = unit.pieces;
  if (bytes === undefined || unit.pieces.length !== 1) {
    return;
  }
  const key = unit.type === NAL_TYPE.sps ? String(readUe(bytes, 4)) : String(readUe(bytes, 1));
  if (sets.size < MAX_PARAMETER_SETS || sets.has(key)) {
    sets.set(key, bytes);
  }
}

/** Exp-Golomb code at a byte boundary (§9.1): seq_parameter_set_id or pic_parameter_set_id. */
function readUe(bytes: Uint8Array, offset: number): number {
  const word =
    (((bytes[offset] ?? 0) << 24) |
      ((bytes[offset + 1] ?? 0) << 16) |
      ((bytes[offset + 2] ?? 0) << 8) |
      (bytes[offset + 3] ?? 0)) >>>
    0;
  const zeros = Math.clz32(word);
  return zeros > 15 ? -1 : (word >>> (31 - 2 * zeros)) - 1;
}

function readUnits(payloads: readonly Uint8Array[]): Unit[] | undefined {
  const units: Unit[] = [];
  let fragments: Unit | undefined;
  for (const payload of payloads) {
    const type = nalType(payload);
    if (type === RTP_NAL.fuA) {
      const header = payload[1];
      if (header === undefined || payload.length < 3) {
        return undefined;
      }
      if ((header & 0x80) !== 0) {
        if (fragments !== undefined) {
          return undefined;
        }
        const restored = Uint8Array.of(((payload[0] ?? 0) & 0xe0) | (header & 0x1f));
        fragments = { type: header & 0x1f, pieces: [restored] };
      }
      if (fragments === undefined || fragments.type !== (header & 0x1f)) {
        return undefined;
      }
      fragments.pieces.push(payload.subarray(2));
      if ((header & 0x40) !== 0) {
        units.push(fragments);
        fragments = undefined;
      }
      continue;
    }
    if (fragments !== undefined || payload.length === 0) {
      return undefined;
    }
    if (type === RTP_NAL.stapA) {
      if (!readAggregate(payload, units)) {
        return undefined;
      }
    } else if (type >= 1 && type <= 23) {
      units.push({ type, pieces: [payload] });
    } else {
      return undefined;
    }
  }
  return fragments === undefined ? units : undefined;
}

function readAggregate(payload: Uint8Array, units: Unit[]): boolean {
  let offset = 1;
  while (offset + 2 <= payload.length) {
    const length = ((payload[offset] ?? 0) << 8) | (payload[offset + 1] ?? 0);
    const start = offset + 2;
    if (length === 0 || start + length > payload.length) {
      return false;
    }
    const bytes = payload.subarray(start, start + length);
    units.push({ type: nalType(bytes), pieces: [bytes] });
    offset = start + length;
  }
  return offset === payload.length && offset > 1;
}
