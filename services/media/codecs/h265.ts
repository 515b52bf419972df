import { ServiceError } from '../../base/errors.ts';
import { BitReader } from './bit-reader.ts';
import { unescapeRbsp, type NalLengthSize } from './h264.ts';

/** nal_unit_type, Rec. ITU-T H.265 table 7-1. */
export const H265_NAL_TYPE = {
  irapFirst: 16,
  irapLast: 23,
  vps: 32,
  sps: 33,
  pps: 34,
  accessUnitDelimiter: 35,
  endOfSequence: 36,
  endOfBitstream: 37,
  fillerData: 38,
  prefixSei: 39,
} as const;

/** HEVCDecoderConfigurationRecord, ISO/IEC 14496-15 section 8.3.3.1: hvcC in MP4 and Enhanced RTMP. */
export type HevcConfig = {
  lengthSize: NalLengthSize;
  /** VPS, SPS, PPS and whatever else the encoder wants in front of a key frame; NAL units without start codes. */
  parameterSets: readonly Uint8Array[];
};

const FIXED_BYTES = 23;
const MAX_ARRAYS = 16;
const MAX_SPS_BYTES = 4_096;
const MAX_SIDE = 16_384;

export function h265NalType(nal: Uint8Array): number {
  return ((nal[0] ?? 0) >> 1) & 0x3f;
}

/** Views into `data`. @throws ServiceError malformed, naming the lie. */
export function parseHevcConfig(data: Uint8Array): HevcConfig {
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  if (bytes.length < FIXED_BYTES) {
    throw malformed(`${bytes.length} bytes are too few`);
  }
  const lengthSize = (bytes.readUInt8(21) & 3) + 1;
  const arrays = bytes.readUInt8(22);
  if (lengthSize === 3 || arrays > MAX_ARRAYS) {
    throw malformed(lengthSize === 3 ? 'NAL unit lengths of 3 bytes do not exist' : `${arrays} arrays`);
  }
  const parameterSets: Uint8Array[] = [];
  let offset = FIXED_BYTES;
  const take = (count: number): number => {
    const start = offset;
    offset += count;
    if (offset > bytes.length) {
      throw malformed('a parameter set is cut off');
    }
    return start;
  };
  for (let array = 0; array < arrays; array++) {
    take(1);
    for (let left = bytes.readUInt16BE(take(2)); left > 0; left--) {
      const length = bytes.readUInt16BE(take(2));
      const start = take(length);
      parameterSets.push(bytes.subarray(start, offset));
    }
  }
  return { lengthSize: lengthSize as NalLengthSize, parameterSets };
}

/** What a sequence parameter set says, section 7.4.3.2. */
export type HevcSpsInfo = {
  /** After cropping. */
  width: number;
  height: number;
  chromaFormat: '4:0:0' | '4:2:0' | '4:2:2' | '4:4:4';
  /** The larger one of luma and chroma. */
  bitDepth: number;
  /** False when the source is said to be made of fields. */
  progressive: boolean;
  /** sps_max_num_reorder_pics of the highest sub-layer; 0 = pictures are shown as they come. */
  maxReorderPictures: number;
};

const CHROMA_FORMATS = ['4:0:0', '4:2:0', '4:2:2', '4:4:4'] as const;

/** Section 7.3.2.2, up to what is of use here. @throws ServiceError malformed. */
export function parseHevcSps(nal: Uint8Array): HevcSpsInfo {
  if (h265NalType(nal) !== H265_NAL_TYPE.sps || nal.length > MAX_SPS_BYTES) {
    throw malformed(`SPS of ${nal.length} bytes with NAL unit type ${h265NalType(nal)}`);
  }
  const bits = new BitReader(unescapeRbsp(nal.subarray(2)), 'HEVC SPS');
  bits.skip(4);
  const maxSubLayersMinus1 = bits.bits(3);
  bits.skip(1);
  const { progressive } = readProfileTierLevel(bits, maxSubLayersMinus1);
  bits.unsignedExpGolomb(); // sps_seq_parameter_set_id
  const chroma = bits.unsignedExpGolomb();
  const chromaFormat = CHROMA_FORMATS[chroma];
  if (chromaFormat === undefined) {
    throw malformed(`chroma format ${chroma} does not exist`);
  }
  if (chroma === 3) {
    bits.skip(1);
  }
  const width = bits.unsignedExpGolomb();
  const height = bits.unsignedExpGolomb();
  const crop = bits.flag() ? Array.from({ length: 4 }, () => bits.unsignedExpGolomb()) : [0, 0, 0, 0];
  const [left = 0, right = 0, top = 0, bottom = 0] = crop;
  const size = {
    width: width - (left + right) * (chroma === 1 || chroma === 2 ? 2 : 1),
    height: height - (top + bottom) * (chroma === 1 ? 2 : 1),
  };
  if (size.width < 1 || size.height < 1 || width > MAX_SIDE || height > MAX_SIDE) {
    throw malformed(`picture of ${size.width}x${size.height}`);
  }
  const bitDepth = Math.max(bits.unsignedExpGolomb(), bits.unsignedExpGolomb()) + 8;
  bits.unsignedExpGolomb(); // log2_max_pic_order_cnt_lsb_minus4
  return {
    ...size,
    chromaFormat,
    bitDepth,
    progressive,
    maxReorderPictures: readReorder(bits, maxSubLayersMinus1),
  };
}

/** sps_sub_layer_ordering_info: what the last entry says counts for the whole stream. */
function readReorder(bits: BitReader, maxSubLayersMinus1: number): number {
  let reorder = 0;
  for (let left = bits.flag() ? maxSubLayersMinus1 : 0; left >= 0; left--) {
    bits.unsignedExpGolomb(); // sps_max_dec_pic_buffering_minus1
    reorder = bits.unsignedExpGolomb();
    bits.unsignedExpGolomb(); // sps_max_latency_increase_plus1
  }
  return reorder;
}

/** Section 7.3.3: general part, then what is there of each sub-layer. */
function readProfileTierLevel(bits: BitReader, maxSubLayersMinus1: number): { progressive: boolean } {
  bits.skip(8 + 32);
  const isProgressiveSource = bits.flag();
  const isInterlacedSource = bits.flag();
  bits.skip(46 + 8);
  const present = Array.from({ length: maxSubLayersMinus1 }, () => ({
    profile: bits.flag(),
    level: bits.flag(),
  }));
  if (maxSubLayersMinus1 > 0) {
    bits.skip(2 * (8 - maxSubLayersMinus1));
  }
  for (const { profile, level } of present) {
    bits.skip((profile ? 88 : 0) + (level ? 8 : 0));
  }
  return { progressive: isProgressiveSource || !isInterlacedSource };
}

function malformed(detail: string): ServiceError {
  return new ServiceError('malformed', `HEVC decoder configuration (hvcC): ${detail}`);
}
