import { readU16 } from './bytes.ts';

/** VP8 payload descriptor, RFC 7741 §4.2. Positions are offsets into the payload; 0 = the field is absent. */
export type Vp8Descriptor = {
  valid: boolean;
  /** Where the VP8 payload itself starts. */
  headerLength: number;
  startOfPartition: boolean;
  keyFrame: boolean;
  pictureIdOffset: number;
  /** 7 or 15 bits; 0 when absent. */
  pictureIdBits: number;
  pictureId: number;
  tl0PicIdxOffset: number;
  tl0PicIdx: number;
  temporalLayer: number;
};

export function emptyVp8Descriptor(): Vp8Descriptor {
  return {
    valid: false,
    headerLength: 0,
    startOfPartition: false,
    keyFrame: false,
    pictureIdOffset: 0,
    pictureIdBits: 0,
    pictureId: 0,
    tl0PicIdxOffset: 0,
    tl0PicIdx: 0,
    temporalLayer: 0,
  };
}

/** Fills `into` (reused by the packet path) and returns it; `valid` is false when the payload is too short. */
export function parseVp8Descriptor(payload: Uint8Array, into: Vp8Descriptor): Vp8Descriptor {
  into.pictureIdOffset = 0;
  into.pictureIdBits = 0;
  into.pictureId = 0;
  into.tl0PicIdxOffset = 0;
  into.tl0PicIdx = 0;
  into.temporalLayer = 0;
  const first = payload[0] ?? 0;
  let offset = 1;
  if ((first & 0x80) !== 0) {
    const extension = payload[1] ?? 0;
    offset = 2;
    if ((extension & 0x80) !== 0) {
      into.pictureIdOffset = offset;
      if (((payload[offset] ?? 0) & 0x80) !== 0) {
        into.pictureIdBits = 15;
        into.pictureId = readU16(payload, offset) & 0x7fff;
        offset += 2;
      } else {
        into.pictureIdBits = 7;
        into.pictureId = (payload[offset] ?? 0) & 0x7f;
        offset += 1;
      }
    }
    if ((extension & 0x40) !== 0) {
      into.tl0PicIdxOffset = offset;
      into.tl0PicIdx = payload[offset] ?? 0;
      offset += 1;
    }
    if ((extension & 0x30) !== 0) {
      into.temporalLayer = (payload[offset] ?? 0) >>> 6;
      offset += 1;
    }
  }
  into.headerLength = offset;
  into.valid = offset < payload.length;
  into.startOfPartition = (first & 0x10) !== 0 && (first & 0x07) === 0;
  // The first bit of the frame header is 0 for key frames, RFC 6386 §9.1.
  into.keyFrame = into.valid && into.startOfPartition && ((payload[offset] ?? 1) & 1) === 0;
  return into;
}

/** Overwrites PictureID and TL0PICIDX in place; fields that are absent stay absent. */
export function patchVp8Descriptor(
  payload: Uint8Array,
  descriptor: Vp8Descriptor,
  pictureId: number,
  tl0PicIdx: number,
): void {
  const at = descriptor.pictureIdOffset;
  if (descriptor.pictureIdBits === 15) {
    payload[at] = 0x80 | ((pictureId >>> 8) & 0x7f);
    payload[at + 1] = pictureId;
  } else if (descriptor.pictureIdBits === 7) {
    payload[at] = pictureId & 0x7f;
  }
  if (descriptor.tl0PicIdxOffset !== 0) {
    payload[descriptor.tl0PicIdxOffset] = tl0PicIdx;
  }
}
