/** The frame header of VP8, RFC 6386 section 9.1. */
export type Vp8FrameHeader = { key: true; width: number; height: number } | { key: false };

const FRAME_TAG_BYTES = 3;
const KEY_HEADER_BYTES = 10;

/** Undefined when these bytes cannot be the start of a VP8 frame. Never throws. */
export function parseVp8Header(frame: Uint8Array): Vp8FrameHeader | undefined {
  const byte = (index: number): number => frame[index] ?? 0;
  if (frame.length < FRAME_TAG_BYTES || ((byte(0) >> 1) & 7) > 3) {
    return undefined;
  }
  if ((byte(0) & 1) === 1) {
    return { key: false };
  }
  if (frame.length < KEY_HEADER_BYTES || byte(3) !== 0x9d || byte(4) !== 0x01 || byte(5) !== 0x2a) {
    return undefined;
  }
  const width = byte(6) | ((byte(7) & 0x3f) << 8);
  const height = byte(8) | ((byte(9) & 0x3f) << 8);
  return width === 0 || height === 0 ? undefined : { key: true, width, height };
}
