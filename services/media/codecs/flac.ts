import { ServiceError } from '../../base/errors.ts';
import type { AudioFrames } from './audio-frames.ts';

const MARKER = 'fLaC';
const BLOCK_HEADER_BYTES = 4;
const STREAM_INFO_BYTES = 34;
/** Mono silence: header with its checksum, a subframe of one value, checksum. */
const MIN_FRAME_BYTES = 11;
/** A metadata block of type STREAMINFO, the last one. */
const STREAM_INFO_HEADER = [0x80, 0, 0, STREAM_INFO_BYTES] as const;
/** RFC 9639 section 9.1.2. */
const SAMPLE_RATES_HZ = [
  0, 88_200, 176_400, 192_000, 8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000,
] as const;

/** What a FLAC stream begins with. */
export type FlacConfig = {
  /** STREAMINFO without its block header. */
  streamInfo: Uint8Array;
  sampleRateHz: number;
  channels: number;
};

/**
 * STREAMINFO as encoders send it: bare, as FFmpeg does, or behind the marker of a FLAC file (RFC 9639 section 8).
 * @throws ServiceError malformed.
 */
export function parseFlacConfig(description: Uint8Array): FlacConfig {
  const isFile = Buffer.from(description).toString('latin1', 0, 4) === MARKER;
  const start = isFile ? MARKER.length + BLOCK_HEADER_BYTES : 0;
  const isStreamInfo = !isFile || ((description[MARKER.length] ?? 0) & 0x7f) === 0;
  const info = Buffer.from(description.subarray(start, start + STREAM_INFO_BYTES));
  if (!isStreamInfo || info.length < STREAM_INFO_BYTES) {
    throw new ServiceError(
      'malformed',
      `FLAC configuration of ${description.length} bytes has no STREAMINFO`,
    );
  }
  const sampleRateHz = info.readUIntBE(10, 3) >> 4;
  if (sampleRateHz === 0) {
    throw new ServiceError('malformed', 'FLAC configuration without a sample rate');
  }
  return { streamInfo: info, sampleRateHz, channels: ((info.readUInt8(12) >> 1) & 7) + 1 };
}

/** The start of a FLAC file. */
export function flacFileHeader(streamInfo: Uint8Array): Uint8Array {
  return Buffer.concat([Buffer.from(MARKER, 'latin1'), Buffer.from(STREAM_INFO_HEADER), streamInfo]);
}

/** One frame (RFC 9639 section 9.1). A rate of 0 is told in STREAMINFO. @throws ServiceError malformed. */
export function parseFlacFrame(data: Uint8Array): AudioFrames {
  const byte = (index: number): number => data[index] ?? 0;
  if (data.length < MIN_FRAME_BYTES || byte(0) !== 0xff || byte(1) >> 1 !== 0x7c) {
    throw new ServiceError('malformed', 'FLAC: no frame header where one belongs');
  }
  const sizeCode = byte(2) >> 4;
  const channelCode = byte(3) >> 4;
  return {
    sampleRateHz: SAMPLE_RATES_HZ[byte(2) & 15] ?? 0,
    channels: channelCode < 8 ? channelCode + 1 : 2,
    samples: blockSize(byte, sizeCode),
  };
}

function blockSize(byte: (index: number) => number, code: number): number {
  // The frame or sample number before it is coded like a character of UTF-8.
  const after = 4 + Math.max(1, Math.clz32(~(byte(4) << 24)));
  switch (code) {
    case 0:
      throw new ServiceError('malformed', 'FLAC: a reserved block size');
    case 1:
      return 192;
    case 6:
      return byte(after) + 1;
    case 7:
      return ((byte(after) << 8) | byte(after + 1)) + 1;
    default:
      return code < 6 ? 576 << (code - 2) : 256 << (code - 8);
  }
}
