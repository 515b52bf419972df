import type { AssembledFrame, Depacketizer } from './depacketizer-types.ts';
import { concatPieces } from './concat-pieces.ts';

const FLAG = { pictureId: 0x80, predicted: 0x40, layers: 0x20, flexible: 0x10, begin: 0x08, structure: 0x02 };
/** A picture has at most three reference indices in flexible mode (RFC 9628 §4.2). */
const MAX_REFERENCES = 3;

/** Length of the RFC 9628 §4.2 payload descriptor, or -1 when it is cut off. */
export function vp9DescriptorLength(payload: Uint8Array): number {
  const flags = payload[0];
  if (flags === undefined) {
    return -1;
  }
  let length = 1;
  if ((flags & FLAG.pictureId) !== 0) {
    length += ((payload[length] ?? 0) & 0x80) !== 0 ? 2 : 1;
  }
  if ((flags & FLAG.layers) !== 0) {
    length += (flags & FLAG.flexible) !== 0 ? 1 : 2;
  }
  if ((flags & FLAG.flexible) !== 0 && (flags & FLAG.predicted) !== 0) {
    for (let count = 0; ; count += 1) {
      const reference = payload[length];
      if (reference === undefined || count >= MAX_REFERENCES) {
        return -1;
      }
      length += 1;
      if ((reference & 1) === 0) {
        break;
      }
    }
  }
  if ((flags & FLAG.structure) !== 0) {
    length += structureLength(payload, length);
  }
  return length < payload.length ? length : -1;
}

/** Scalability structure, §4.2.1. */
function structureLength(payload: Uint8Array, offset: number): number {
  const head = payload[offset] ?? 0;
  let length = 1;
  if ((head & 0x10) !== 0) {
    length += ((head >>> 5) + 1) * 4;
  }
  if ((head & 0x08) !== 0) {
    const pictures = payload[offset + length] ?? 0;
    length += 1;
    for (let index = 0; index < pictures && offset + length < payload.length; index += 1) {
      length += 1 + (((payload[offset + length] ?? 0) >>> 2) & 3);
    }
  }
  return length;
}

/** One spatial layer; the pieces of a frame are concatenated. */
export class Vp9Depacketizer implements Depacketizer {
  readonly framePerPacket = false;

  isFrameStart(payload: Uint8Array): boolean {
    return ((payload[0] ?? 0) & FLAG.begin) !== 0;
  }

  assemble(payloads: readonly Uint8Array[]): AssembledFrame | 'empty' | undefined {
    const pieces: Uint8Array[] = [];
    for (const [index, payload] of payloads.entries()) {
      const length = vp9DescriptorLength(payload);
      if (length < 0 || (index === 0 && !this.isFrameStart(payload))) {
        return undefined;
      }
      pieces.push(payload.subarray(length));
    }
    const data = concatPieces(pieces);
    const key = ((payloads[0]?.[0] ?? FLAG.predicted) & FLAG.predicted) === 0;
    return data.length === 0 ? 'empty' : { data, key };
  }
}
