import { AV1_OBU, isAv1KeyFrame, readLeb128, sizedObu, TEMPORAL_DELIMITER } from '../codecs/av1.ts';
import { concatPieces } from './concat-pieces.ts';
import type { AssembledFrame, Depacketizer } from './depacketizer-types.ts';

const FLAG = { continues: 0x80, isContinued: 0x40 } as const;
/** OBUs a temporal unit may begin with; a tile group alone belongs to a frame header in front of it. */
const BEGINNINGS: ReadonlySet<number> = new Set([
  AV1_OBU.sequenceHeader,
  AV1_OBU.temporalDelimiter,
  AV1_OBU.frameHeader,
  AV1_OBU.metadata,
  AV1_OBU.frame,
]);
/** More elements than any encoder puts into a picture. */
const MAX_ELEMENTS = 1024;

/** RTP Payload Format For AV1: gives temporal units with a delimiter in front and a size in every OBU. */
export class Av1Depacketizer implements Depacketizer {
  readonly framePerPacket = false;

  isFrameStart(payload: Uint8Array): boolean {
    const aggregation = payload[0] ?? 0;
    const [first] = elementsOf(payload) ?? [];
    const isWhole = (aggregation & FLAG.continues) === 0;
    return isWhole && first !== undefined && BEGINNINGS.has(obuType(first));
  }

  assemble(payloads: readonly Uint8Array[]): AssembledFrame | 'empty' | undefined {
    const obus = joinElements(payloads);
    if (obus === undefined) {
      return undefined;
    }
    const wanted = obus.filter((obu) => obuType(obu) !== AV1_OBU.temporalDelimiter);
    const sized: Uint8Array[] = [];
    for (const obu of wanted) {
      const complete = sizedObu(obu);
      if (complete === undefined) {
        return undefined;
      }
      sized.push(complete);
    }
    if (!wanted.some((obu) => hasPicture(obuType(obu)))) {
      return 'empty';
    }
    return { data: concatPieces([TEMPORAL_DELIMITER, ...sized]), key: isAv1KeyFrame(sized) };
  }
}

function obuType(obu: Uint8Array): number {
  return ((obu[0] ?? 0) >> 3) & 15;
}

function hasPicture(type: number): boolean {
  return type === AV1_OBU.frame || type === AV1_OBU.frameHeader || type === AV1_OBU.tileGroup;
}

/** Whole OBUs, as they were before they were spread over packets; undefined when a fragment is missing. */
function joinElements(payloads: readonly Uint8Array[]): Uint8Array[] | undefined {
  const obus: Uint8Array[] = [];
  let fragments: Uint8Array[] = [];
  for (const payload of payloads) {
    const elements = elementsOf(payload);
    const flags = payload[0] ?? 0;
    if (elements === undefined || ((flags & FLAG.continues) !== 0) !== fragments.length > 0) {
      return undefined;
    }
    for (const [index, element] of elements.entries()) {
      const isOpen = index === elements.length - 1 && (flags & FLAG.isContinued) !== 0;
      fragments.push(element);
      if (!isOpen) {
        obus.push(fragments.length === 1 ? element : concatPieces(fragments));
        fragments = [];
      }
    }
    if (obus.length > MAX_ELEMENTS) {
      return undefined;
    }
  }
  return fragments.length === 0 ? obus : undefined;
}

/** Section 4.4: W elements of which the last has no length, or any number with lengths. Undefined: malformed. */
function elementsOf(payload: Uint8Array): Uint8Array[] | undefined {
  const count = ((payload[0] ?? 0) >> 4) & 3;
  const elements: Uint8Array[] = [];
  for (let offset = 1; offset < payload.length;) {
    if (count > 0 && elements.length === count - 1) {
      elements.push(payload.subarray(offset));
      return elements;
    }
    const length = readLeb128(payload, offset);
    const start = offset + (length?.bytes ?? 0);
    const end = start + (length?.value ?? 0);
    if (length === undefined || length.value === 0 || end > payload.length) {
      return undefined;
    }
    elements.push(payload.subarray(start, end));
    offset = end;
  }
  return count === 0 && elements.length > 0 ? elements : undefined;
}
