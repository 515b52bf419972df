import type { AssembledFrame, Depacketizer } from './depacketizer-types.ts';
import { concatPieces } from './concat-pieces.ts';

/** Length of the RFC 7741 §4.2 payload descriptor, or -1 when it is cut off. */
export function vp8DescriptorLength(payload: Uint8Array): number {
  const first = payload[0];
  if (first === undefined) {
    return -1;
  }
  let length = 1;
  if ((first & 0x80) !== 0) {
    const extension = payload[1] ?? 0;
    length += 1;
    if ((extension & 0x80) !== 0) {
      length += ((payload[length] ?? 0) & 0x80) !== 0 ? 2 : 1;
    }
    length += (extension & 0x40) !== 0 ? 1 : 0;
    length += (extension & 0x30) !== 0 ? 1 : 0;
  }
  return length < payload.length ? length : -1;
}

export class Vp8Depacketizer implements Depacketizer {
  readonly framePerPacket = false;

  /** S bit set and partition index 0. */
  isFrameStart(payload: Uint8Array): boolean {
    return ((payload[0] ?? 0) & 0x17) === 0x10;
  }

  assemble(payloads: readonly Uint8Array[]): AssembledFrame | 'empty' | undefined {
    const pieces: Uint8Array[] = [];
    for (const [index, payload] of payloads.entries()) {
      const length = vp8DescriptorLength(payload);
      if (length < 0 || (index === 0 && !this.isFrameStart(payload))) {
        return undefined;
      }
      pieces.push(payload.subarray(length));
    }
    const data = concatPieces(pieces);
    // RFC 6386 §9.1: the lowest bit of the frame tag is 0 for key frames.
    return data.length === 0 ? 'empty' : { data, key: ((data[0] ?? 1) & 1) === 0 };
  }
}
