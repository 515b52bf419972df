import { ServiceError } from '../../base/errors.ts';
import type { AudioFrames } from './audio-frames.ts';

const SAMPLE_RATES_HZ = [48_000, 44_100, 32_000] as const;
const HALF_RATES_HZ = [24_000, 22_050, 16_000] as const;
/** Full channels by acmod, ATSC A/52 table 5.8. */
const CHANNELS = [2, 1, 2, 3, 3, 4, 4, 5] as const;
const AC3_SAMPLES = 1536;
const BLOCK_SAMPLES = 256;
const BLOCKS = [1, 2, 3, 6] as const;
/** Bit stream ids above this one are E-AC-3 (annex E). */
const LAST_AC3_ID = 10;
const MIN_BYTES = 7;
const STREAM_TYPE_DEPENDENT = 1;

/** Whole frames of AC-3 or E-AC-3 (ATSC A/52). @throws ServiceError malformed. */
export function parseAc3Frames(data: Uint8Array): AudioFrames {
  if (data.length < MIN_BYTES || data[0] !== 0x0b || data[1] !== 0x77) {
    throw malformed();
  }
  return (data[5] ?? 0) >> 3 <= LAST_AC3_ID ? parseAc3(data) : parseEac3(data);
}

function parseAc3(data: Uint8Array): AudioFrames {
  const [rateByte, idByte, modeByte] = [data[4] ?? 0, data[5] ?? 0, data[6] ?? 0];
  // Stream ids 9 and 10 are in use for half and quarter of the rate.
  const sampleRateHz = SAMPLE_RATES_HZ[rateByte >> 6];
  if (sampleRateHz === undefined) {
    throw malformed();
  }
  const mode = modeByte >> 5;
  const hasCenter = (mode & 1) === 1 && mode !== 1;
  const skipBits = (hasCenter ? 2 : 0) + ((mode & 4) !== 0 ? 2 : 0) + (mode === 2 ? 2 : 0);
  const lowFrequency = (modeByte >> (4 - skipBits)) & 1;
  return {
    sampleRateHz: sampleRateHz >> Math.max(0, (idByte >> 3) - 8),
    channels: (CHANNELS[mode] ?? 2) + lowFrequency,
    samples: AC3_SAMPLES,
  };
}

/** Substreams that extend another one, or carry another program, add no time. */
function parseEac3(data: Uint8Array): AudioFrames {
  let first: AudioFrames | undefined;
  for (let offset = 0; offset + MIN_BYTES <= data.length;) {
    const byte = (index: number): number => data[offset + index] ?? 0;
    if (byte(0) !== 0x0b || byte(1) !== 0x77) {
      throw malformed();
    }
    const rateCode = byte(4) >> 6;
    const sampleRateHz = rateCode === 3 ? HALF_RATES_HZ[(byte(4) >> 4) & 3] : SAMPLE_RATES_HZ[rateCode];
    if (sampleRateHz === undefined) {
      throw malformed();
    }
    const blocks = rateCode === 3 ? 6 : (BLOCKS[(byte(4) >> 4) & 3] ?? 6);
    const isMain = byte(2) >> 6 !== STREAM_TYPE_DEPENDENT && ((byte(2) >> 3) & 7) === 0;
    if (isMain) {
      const channels = (CHANNELS[(byte(4) >> 1) & 7] ?? 2) + (byte(4) & 1);
      first ??= { sampleRateHz, channels, samples: 0 };
      first.samples += blocks * BLOCK_SAMPLES;
    }
    offset += ((((byte(2) & 7) << 8) | byte(3)) + 1) * 2;
  }
  if (first === undefined) {
    throw malformed();
  }
  return first;
}

function malformed(): ServiceError {
  return new ServiceError('malformed', 'AC-3: no frame header where one belongs');
}
