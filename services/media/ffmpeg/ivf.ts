import type { VideoCodec } from '../../model/packet.ts';

/**
 * IVF, the plainest container with timestamps: a header, then per frame its length and 64-bit time. libvpx defines it
 * for VP8 and VP9; ffmpeg reads AV1, and H.264 and HEVC (Annex B), from it as well.
 */
/** What egress composes from. */
export type IvfCodec = 'vp8' | 'vp9' | 'h264';

const FOUR_CC: Readonly<Record<VideoCodec, string>> = {
  vp8: 'VP80',
  vp9: 'VP90',
  av1: 'AV01',
  h264: 'H264',
  h265: 'HEVC',
};
const HEADER_BYTES = 32;
const FRAME_HEADER_BYTES = 12;
const MICROSECONDS_PER_S = 1_000_000;

/** Header of a stream whose times are microseconds; the size is a hint, every key frame brings its own. */
export function ivfHeader(codec: VideoCodec, width: number, height: number): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.write('DKIF', 0, 'latin1');
  header.writeUInt16LE(HEADER_BYTES, 6);
  header.write(FOUR_CC[codec], 8, 'latin1');
  header.writeUInt16LE(width, 12);
  header.writeUInt16LE(height, 14);
  header.writeUInt32LE(MICROSECONDS_PER_S, 16);
  header.writeUInt32LE(1, 20);
  return header;
}

/** @param ptsUs not negative. */
export function ivfFrame(ptsUs: number, data: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(FRAME_HEADER_BYTES + data.length);
  frame.writeUInt32LE(data.length, 0);
  frame.writeBigUInt64LE(BigInt(Math.round(ptsUs)), 4);
  frame.set(data, FRAME_HEADER_BYTES);
  return frame;
}
