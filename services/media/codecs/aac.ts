import { ServiceError } from '../../base/errors.ts';
import { BitReader } from './bit-reader.ts';

/** samplingFrequencyIndex, ISO/IEC 14496-3 table 1.18. */
const SAMPLE_RATES_HZ = [
  96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350,
] as const;
const ESCAPE_INDEX = 15;
const ESCAPE_OBJECT_TYPE = 31;
const SBR = 5;
const PARAMETRIC_STEREO = 29;
const SYNC_EXTENSION_SBR = 0x2b7;
const SYNC_EXTENSION_PS = 0x548;
const ADTS_HEADER_BYTES = 7;

/** An AudioSpecificConfig, ISO/IEC 14496-3 section 1.6.2.1. */
export type AacConfig = {
  /** Of the core: 2 = LC. HE-AAC is a core of type 2 with `sbr`. */
  objectType: number;
  /** Of the core; HE-AAC plays at twice this rate. */
  sampleRateHz: number;
  /** What a decoder puts out. */
  outputSampleRateHz: number;
  /** Of the core, 1 … 6 and 8; 0 when the layout is told by a program config element inside the stream. */
  channels: number;
  /** What a decoder puts out. */
  outputChannels: number;
  sbr: boolean;
  parametricStereo: boolean;
  /** Samples per packet at the core rate: 1024, or 960 for broadcast encoders. */
  frameSamples: number;
};

/** @throws ServiceError malformed on garbage; every field of the result is plausible. */
export function parseAacConfig(description: Uint8Array): AacConfig {
  const bits = new BitReader(description, 'AAC configuration');
  let objectType = readObjectType(bits);
  const sampleRateHz = readSampleRate(bits);
  const channelConfig = bits.bits(4);
  let outputSampleRateHz = sampleRateHz;
  let parametricStereo = objectType === PARAMETRIC_STEREO;
  let sbr = objectType === SBR || parametricStereo;
  if (sbr) {
    outputSampleRateHz = readSampleRate(bits);
    objectType = readObjectType(bits);
  }
  if (objectType < 1 || objectType > 4) {
    throw new ServiceError('malformed', `AAC configuration: audio object type ${objectType} is not AAC`);
  }
  if (channelConfig > 7) {
    throw new ServiceError('malformed', `AAC configuration: channel configuration ${channelConfig}`);
  }
  const frameSamples = bits.remainingBits > 0 && bits.flag() ? 960 : 1024;
  if (!sbr) {
    const extension = readSyncExtension(bits);
    sbr = extension !== undefined;
    outputSampleRateHz = extension?.sampleRateHz ?? outputSampleRateHz;
    parametricStereo = extension?.parametricStereo ?? false;
  }
  const channels = channelConfig === 7 ? 8 : channelConfig;
  return {
    objectType,
    sampleRateHz,
    outputSampleRateHz,
    channels,
    outputChannels: parametricStereo && channels === 1 ? 2 : channels,
    sbr,
    parametricStereo,
    frameSamples,
  };
}

function readObjectType(bits: BitReader): number {
  const type = bits.bits(5);
  return type === ESCAPE_OBJECT_TYPE ? 32 + bits.bits(6) : type;
}

function readSampleRate(bits: BitReader): number {
  const index = bits.bits(4);
  const sampleRateHz = index === ESCAPE_INDEX ? bits.bits(24) : SAMPLE_RATES_HZ[index];
  if (sampleRateHz === undefined || sampleRateHz < 7_350 || sampleRateHz > 96_000) {
    throw new ServiceError('malformed', `AAC configuration: sample rate index ${index} is not valid`);
  }
  return sampleRateHz;
}

/** Backward compatible signalling of SBR, and of parametric stereo, behind the core configuration. */
function readSyncExtension(bits: BitReader): { sampleRateHz: number; parametricStereo: boolean } | undefined {
  // dependsOnCoreCoder (without delay, as in every LC stream) and extensionFlag come first.
  if (bits.remainingBits < 2 + 11 + 5 + 1 + 4 || bits.bits(2) !== 0) {
    return undefined;
  }
  if (bits.bits(11) !== SYNC_EXTENSION_SBR || bits.bits(5) !== SBR || !bits.flag()) {
    return undefined;
  }
  const sampleRateHz = readSampleRate(bits);
  const parametricStereo = bits.remainingBits >= 12 && bits.bits(11) === SYNC_EXTENSION_PS && bits.flag();
  return { sampleRateHz, parametricStereo };
}

/** Two bytes for a plain AAC stream. @throws ServiceError invalid_argument for a rate AAC does not have. */
export function buildAacConfig(objectType: number, sampleRateHz: number, channels: number): Uint8Array {
  const index = rateIndex(sampleRateHz);
  const channelConfig = channels === 8 ? 7 : channels;
  return Uint8Array.of((objectType << 3) | (index >> 1), ((index & 1) << 7) | (channelConfig << 3));
}

function rateIndex(sampleRateHz: number): number {
  const index = SAMPLE_RATES_HZ.findIndex((rate) => rate === sampleRateHz);
  if (index === -1) {
    throw new ServiceError('invalid_argument', `AAC has no sample rate of ${sampleRateHz} Hz`);
  }
  return index;
}

export type AdtsHeader = {
  objectType: number;
  sampleRateHz: number;
  channels: number;
  /** 7, or 9 with a checksum. */
  headerBytes: number;
  /** Header included. */
  frameBytes: number;
};

/**
 * The header at the start of `data` (ISO/IEC 13818-7 section 6.2); undefined when more bytes are needed.
 * @throws ServiceError malformed when it is no ADTS header.
 */
export function parseAdtsHeader(data: Uint8Array): AdtsHeader | undefined {
  if (data.length < ADTS_HEADER_BYTES) {
    return undefined;
  }
  const byte = (index: number): number => data[index] ?? 0;
  const sampleRateHz = SAMPLE_RATES_HZ[(byte(2) >> 2) & 15];
  const headerBytes = (byte(1) & 1) === 1 ? ADTS_HEADER_BYTES : ADTS_HEADER_BYTES + 2;
  const frameBytes = ((byte(3) & 3) << 11) | (byte(4) << 3) | (byte(5) >> 5);
  if (
    byte(0) !== 0xff ||
    (byte(1) & 0xf6) !== 0xf0 ||
    sampleRateHz === undefined ||
    frameBytes < headerBytes
  ) {
    throw new ServiceError('malformed', 'AAC: no ADTS header where one belongs');
  }
  const channelConfig = ((byte(2) & 1) << 2) | (byte(3) >> 6);
  return {
    objectType: (byte(2) >> 6) + 1,
    sampleRateHz,
    channels: channelConfig === 7 ? 8 : channelConfig,
    headerBytes,
    frameBytes,
  };
}

/** A seven-byte header for one raw AAC frame. @throws ServiceError invalid_argument when ADTS cannot carry it. */
export function buildAdtsHeader(
  config: Pick<AacConfig, 'objectType' | 'sampleRateHz' | 'channels'>,
  rawFrameBytes: number,
): Uint8Array {
  const length = rawFrameBytes + ADTS_HEADER_BYTES;
  const channelConfig = config.channels === 8 ? 7 : config.channels;
  if (config.objectType < 1 || config.objectType > 4 || length > 0x1fff) {
    throw new ServiceError(
      'invalid_argument',
      `ADTS cannot carry AAC object type ${config.objectType} with ${rawFrameBytes} bytes per frame`,
    );
  }
  return Uint8Array.of(
    0xff,
    0xf1,
    ((config.objectType - 1) << 6) | (rateIndex(config.sampleRateHz) << 2) | (channelConfig >> 2),
    ((channelConfig & 3) << 6) | (length >> 11),
    (length >> 3) & 0xff,
    ((length & 7) << 5) | 0x1f,
    0xfc,
  );
}
