import { BitReader } from './bit-reader.ts';

/** The start of a VP9 key frame's uncompressed header, VP9 bitstream specification section 6.2. */
export type Vp9KeyHeader = { profile: number; width: number; height: number };

const SYNC_CODE = 0x498342;
const SRGB = 7;

/** Undefined when these bytes are no key frame. Never throws. */
export function parseVp9KeyHeader(frame: Uint8Array): Vp9KeyHeader | undefined {
  try {
    return readKeyHeader(new BitReader(frame.subarray(0, 32), 'VP9 frame'));
  } catch {
    return undefined; // cut off
  }
}

function readKeyHeader(bits: BitReader): Vp9KeyHeader | undefined {
  if (bits.bits(2) !== 2) {
    return undefined;
  }
  const profile = bits.bits(1) + bits.bits(1) * 2;
  if (profile === 3) {
    bits.skip(1);
  }
  const showExisting = bits.flag();
  const inter = !showExisting && bits.flag();
  if (showExisting || inter) {
    return undefined;
  }
  bits.skip(2); // show_frame, error_resilient_mode
  if (bits.bits(24) !== SYNC_CODE) {
    return undefined;
  }
  skipColor(bits, profile);
  return { profile, width: bits.bits(16) + 1, height: bits.bits(16) + 1 };
}

function skipColor(bits: BitReader, profile: number): void {
  if (profile >= 2) {
    bits.skip(1);
  }
  const space = bits.bits(3);
  if (space !== SRGB) {
    bits.skip(1);
  }
  if (profile === 1 || profile === 3) {
    bits.skip(space === SRGB ? 1 : 3);
  }
}
