import { ServiceError } from '../../base/errors.ts';

/** ISO/IEC 14496-3 table 1.18. */
const SAMPLE_RATES_HZ = [
  96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350,
] as const;
const HEADER_BYTES = 7;
const ESCAPE_RATE_INDEX = 15;

/** The three fields an ADTS header shares with the AudioSpecificConfig. */
export type AdtsProfile = {
  /** MPEG-4 audio object type of the core, 1 … 4 (2 = LC). */
  objectType: number;
  rateIndex: number;
  channelConfig: number;
};

/**
 * The core profile of an AudioSpecificConfig (ISO/IEC 14496-3 1.6.2.1). HE-AAC (types 5, 29) names its core behind
 * the extension rate; ADTS then signals the extension implicitly.
 * @throws ServiceError invalid_argument for configurations ADTS cannot carry.
 */
export function adtsProfile(description: Uint8Array): AdtsProfile & { coreSampleRateHz: number } {
  const bits = new BitReader(description);
  let objectType = bits.read(5);
  const rateIndex = readRateIndex(bits);
  const channelConfig = bits.read(4);
  if (objectType === 5 || objectType === 29) {
    readRateIndex(bits);
    objectType = bits.read(5);
  }
  const coreSampleRateHz = SAMPLE_RATES_HZ[rateIndex];
  if (objectType < 1 || objectType > 4 || coreSampleRateHz === undefined || channelConfig === 0) {
    throw new ServiceError(
      'invalid_argument',
      `AAC object type ${objectType}, rate index ${rateIndex}, channel configuration ${channelConfig} is not supported`,
    );
  }
  return { objectType, rateIndex, channelConfig, coreSampleRateHz };
}

function readRateIndex(bits: BitReader): number {
  const index = bits.read(4);
  if (index === ESCAPE_RATE_INDEX) {
    bits.read(24);
  }
  return index;
}

/** One raw AAC frame behind a header without CRC (ISO/IEC 13818-7 6.2). */
export function toAdts(profile: AdtsProfile, frame: Uint8Array): Uint8Array {
  const length = frame.length + HEADER_BYTES;
  const out = new Uint8Array(length);
  out[0] = 0xff;
  out[1] = 0xf1;
  out[2] = ((profile.objectType - 1) << 6) | (profile.rateIndex << 2) | (profile.channelConfig >> 2);
  out[3] = ((profile.channelConfig & 3) << 6) | (length >> 11);
  out[4] = (length >> 3) & 0xff;
  out[5] = ((length & 7) << 5) | 0x1f;
  out[6] = 0xfc;
  out.set(frame, HEADER_BYTES);
  return out;
}

export type AdtsFrame = { data: Uint8Array; description: Uint8Array; sampleRateHz: number; channels: number };

/** Takes raw AAC frames out of an ADTS byte stream as it arrives. */
export class AdtsReader {
  #buffer: Buffer = Buffer.alloc(0);

  /** @throws ServiceError internal when the bytes are not ADTS. */
  push(bytes: Uint8Array): AdtsFrame[] {
    this.#buffer = this.#buffer.length === 0 ? Buffer.from(bytes) : Buffer.concat([this.#buffer, bytes]);
    const frames: AdtsFrame[] = [];
    for (;;) {
      const buffer = this.#buffer;
      if (buffer.length < HEADER_BYTES) {
        return frames;
      }
      if (buffer.readUInt16BE(0) >> 4 !== 0xfff) {
        throw new ServiceError('internal', 'ADTS stream lost its sync word');
      }
      const length = (buffer.readUIntBE(3, 3) >> 5) & 0x1fff;
      if (buffer.length < Math.max(length, HEADER_BYTES)) {
        return frames;
      }
      frames.push(parseFrame(buffer.subarray(0, length)));
      this.#buffer = buffer.subarray(length);
    }
  }
}

function parseFrame(frame: Buffer): AdtsFrame {
  const objectType = (frame.readUInt8(2) >> 6) + 1;
  const rateIndex = (frame.readUInt8(2) >> 2) & 15;
  const channelConfig = ((frame.readUInt8(2) & 1) << 2) | (frame.readUInt8(3) >> 6);
  const headerBytes = (frame.readUInt8(1) & 1) === 1 ? HEADER_BYTES : HEADER_BYTES + 2;
  const sampleRateHz = SAMPLE_RATES_HZ[rateIndex];
  if (sampleRateHz === undefined || frame.length < headerBytes) {
    throw new ServiceError('internal', 'ADTS header is invalid');
  }
  return {
    data: new Uint8Array(frame.subarray(headerBytes)),
    description: Uint8Array.of(
      (objectType << 3) | (rateIndex >> 1),
      ((rateIndex & 1) << 7) | (channelConfig << 3),
    ),
    sampleRateHz,
    channels: channelConfig === 7 ? 8 : channelConfig,
  };
}

class BitReader {
  readonly #data: Uint8Array;
  #position = 0;

  constructor(data: Uint8Array) {
    this.#data = data;
  }

  read(count: number): number {
    let value = 0;
    for (let i = 0; i < count; i++, this.#position++) {
      const byte = this.#data[this.#position >> 3] ?? 0;
      value = value * 2 + ((byte >> (7 - (this.#position & 7))) & 1);
    }
    return value;
  }
}
