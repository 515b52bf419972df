import { ServiceError } from '../../base/errors.ts';
import type { AudioFrames } from './audio-frames.ts';

const HEADER_BYTES = 4;
/** ISO/IEC 11172-3 section 2.4.2.3, ISO/IEC 13818-3: by the version bits. 1 is reserved. */
const VERSIONS = [
  { sampleRatesHz: [11_025, 12_000, 8_000], samples: 576 },
  undefined,
  { sampleRatesHz: [22_050, 24_000, 16_000], samples: 576 },
  { sampleRatesHz: [44_100, 48_000, 32_000], samples: 1152 },
] as const;
const MPEG_1 = 3;
const LAYER_3 = 1;
const MONO = 3;
const BITRATES_KBPS = {
  mpeg1: [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
  mpeg2: [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
} as const;

/** One or more whole frames of MP3. @throws ServiceError malformed. */
export function parseMp3Frames(data: Uint8Array): AudioFrames {
  let [offset, samples] = [0, 0];
  let first: AudioFrames | undefined;
  while (offset + HEADER_BYTES <= data.length && (first === undefined || isSync(data, offset))) {
    const frame = parseHeader(data, offset);
    first ??= frame;
    samples += frame.samples;
    // A free bitrate does not tell its length: such a frame comes alone.
    offset += frame.bytes === 0 ? data.length : frame.bytes;
  }
  if (first === undefined) {
    throw new ServiceError('malformed', `MP3 frame of ${data.length} bytes is cut off`);
  }
  return { sampleRateHz: first.sampleRateHz, channels: first.channels, samples };
}

function isSync(data: Uint8Array, offset: number): boolean {
  return data[offset] === 0xff && (data[offset + 1] ?? 0) >= 0xe0;
}

function parseHeader(data: Uint8Array, offset: number): AudioFrames & { bytes: number } {
  const byte = (index: number): number => data[offset + index] ?? 0;
  const versionBits = (byte(1) >> 3) & 3;
  const version = VERSIONS[versionBits];
  const sampleRateHz = version?.sampleRatesHz[(byte(2) >> 2) & 3];
  const isMpeg1 = versionBits === MPEG_1;
  const bitrateKbps = BITRATES_KBPS[isMpeg1 ? 'mpeg1' : 'mpeg2'][byte(2) >> 4];
  if (
    !isSync(data, offset) ||
    ((byte(1) >> 1) & 3) !== LAYER_3 ||
    version === undefined ||
    sampleRateHz === undefined ||
    bitrateKbps === undefined
  ) {
    throw new ServiceError('malformed', 'MP3: no frame header where one belongs');
  }
  const padding = (byte(2) >> 1) & 1;
  const bytes =
    bitrateKbps === 0 ? 0 : Math.floor(((version.samples / 8) * bitrateKbps * 1000) / sampleRateHz) + padding;
  return { sampleRateHz, channels: byte(3) >> 6 === MONO ? 1 : 2, samples: version.samples, bytes };
}
