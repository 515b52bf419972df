import { ServiceError } from '../../base/errors.ts';
import { BitReader } from './bit-reader.ts';
import { NAL_TYPE, nalType, unescapeRbsp } from './h264.ts';

/** What a sequence parameter set says, Rec. ITU-T H.264 section 7.4.2.1. */
export type SpsInfo = {
  /** profile_idc: 66 baseline, 77 main, 88 extended, 100 high, 110 high 10, 122 high 4:2:2, 244 high 4:4:4. */
  profileIdc: number;
  /** constraint_set0_flag in the highest bit. */
  constraintFlags: number;
  levelIdc: number;
  chromaFormat: '4:0:0' | '4:2:0' | '4:2:2' | '4:4:4';
  bitDepthLuma: number;
  bitDepthChroma: number;
  /** After cropping. */
  width: number;
  height: number;
  /** frame_mbs_only_flag; false means that fields or field pairs may occur. */
  progressive: boolean;
  /** 2 means that output order equals decoding order. */
  pictureOrderCountType: number;
  maxRefFrames: number;
  /** VUI max_num_reorder_frames; undefined when the stream does not say. */
  maxReorderFrames: number | undefined;
  /** From VUI timing; undefined when absent or not plausible. */
  framerate: number | undefined;
};

const CHROMA_FORMATS = ['4:0:0', '4:2:0', '4:2:2', '4:4:4'] as const;
/** Profiles whose SPS has chroma format and bit depth (section 7.3.2.1.1). */
const HIGH_PROFILES: ReadonlySet<number> = new Set([
  100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135,
]);
const MAX_SIDE_MACROBLOCKS = 1024;
const EXTENDED_SAR = 255;
const MAX_SPS_BYTES = 4096;

/** @throws ServiceError malformed on anything that is not a whole and plausible SPS NAL unit. */
export function parseSps(nal: Uint8Array): SpsInfo {
  if (nalType(nal) !== NAL_TYPE.sps || nal.length > MAX_SPS_BYTES) {
    throw new ServiceError('malformed', `H.264 SPS: ${nal.length} bytes of NAL unit type ${nalType(nal)}`);
  }
  const bits = new BitReader(unescapeRbsp(nal.subarray(1)), 'H.264 SPS');
  const profileIdc = bits.bits(8);
  const constraintFlags = bits.bits(8);
  const levelIdc = bits.bits(8);
  bits.unsignedExpGolomb(); // seq_parameter_set_id
  const samples = HIGH_PROFILES.has(profileIdc)
    ? readSampleFormat(bits)
    : { chromaIdc: 1, separatePlanes: false, bitDepthLuma: 8, bitDepthChroma: 8 };
  bits.unsignedExpGolomb(); // log2_max_frame_num_minus4
  const pictureOrderCountType = readPictureOrderCount(bits);
  const maxRefFrames = bits.unsignedExpGolomb();
  bits.flag(); // gaps_in_frame_num_value_allowed_flag
  const widthMacroblocks = bits.unsignedExpGolomb() + 1;
  const heightMapUnits = bits.unsignedExpGolomb() + 1;
  const progressive = bits.flag();
  if (!progressive) {
    bits.flag(); // mb_adaptive_frame_field_flag
  }
  bits.flag(); // direct_8x8_inference_flag
  const crop = bits.flag() ? readCrop(bits) : { left: 0, right: 0, top: 0, bottom: 0 };
  const heightMacroblocks = heightMapUnits * (progressive ? 1 : 2);
  const chromaArrayType = samples.separatePlanes ? 0 : samples.chromaIdc;
  const cropUnitX = chromaArrayType === 1 || chromaArrayType === 2 ? 2 : 1;
  const cropUnitY = (chromaArrayType === 1 ? 2 : 1) * (progressive ? 1 : 2);
  const width = widthMacroblocks * 16 - (crop.left + crop.right) * cropUnitX;
  const height = heightMacroblocks * 16 - (crop.top + crop.bottom) * cropUnitY;
  if (
    widthMacroblocks > MAX_SIDE_MACROBLOCKS ||
    heightMacroblocks > MAX_SIDE_MACROBLOCKS ||
    width <= 0 ||
    height <= 0
  ) {
    throw new ServiceError('malformed', `H.264 SPS: picture size ${width}x${height} is not possible`);
  }
  return {
    profileIdc,
    constraintFlags,
    levelIdc,
    chromaFormat: CHROMA_FORMATS[samples.chromaIdc] ?? '4:2:0',
    bitDepthLuma: samples.bitDepthLuma,
    bitDepthChroma: samples.bitDepthChroma,
    width,
    height,
    progressive,
    pictureOrderCountType,
    maxRefFrames,
    ...readVui(bits),
  };
}

function readSampleFormat(bits: BitReader): {
  chromaIdc: number;
  separatePlanes: boolean;
  bitDepthLuma: number;
  bitDepthChroma: number;
} {
  const chromaIdc = bits.unsignedExpGolomb();
  if (chromaIdc > 3) {
    throw new ServiceError('malformed', `H.264 SPS: chroma format ${chromaIdc} does not exist`);
  }
  const separatePlanes = chromaIdc === 3 && bits.flag();
  const bitDepthLuma = bits.unsignedExpGolomb() + 8;
  const bitDepthChroma = bits.unsignedExpGolomb() + 8;
  bits.flag(); // qpprime_y_zero_transform_bypass_flag
  if (bits.flag()) {
    for (let list = 0; list < (chromaIdc === 3 ? 12 : 8); list++) {
      if (bits.flag()) {
        skipScalingList(bits, list < 6 ? 16 : 64);
      }
    }
  }
  return { chromaIdc, separatePlanes, bitDepthLuma, bitDepthChroma };
}

/** Section 7.3.2.1.1.1. */
function skipScalingList(bits: BitReader, size: number): void {
  let last = 8;
  let next = 8;
  for (let i = 0; i < size && next !== 0; i++) {
    next = (last + bits.signedExpGolomb() + 256) % 256;
    last = next === 0 ? last : next;
  }
}

function readPictureOrderCount(bits: BitReader): number {
  const type = bits.unsignedExpGolomb();
  if (type === 0) {
    bits.unsignedExpGolomb(); // log2_max_pic_order_cnt_lsb_minus4
  } else if (type === 1) {
    bits.flag();
    bits.signedExpGolomb();
    bits.signedExpGolomb();
    const cycle = bits.unsignedExpGolomb();
    if (cycle > 255) {
      throw new ServiceError('malformed', `H.264 SPS: ${cycle} reference frames in a cycle`);
    }
    for (let i = 0; i < cycle; i++) {
      bits.signedExpGolomb();
    }
  } else if (type > 2) {
    throw new ServiceError('malformed', `H.264 SPS: picture order count type ${type} does not exist`);
  }
  return type;
}

function readCrop(bits: BitReader): { left: number; right: number; top: number; bottom: number } {
  return {
    left: bits.unsignedExpGolomb(),
    right: bits.unsignedExpGolomb(),
    top: bits.unsignedExpGolomb(),
    bottom: bits.unsignedExpGolomb(),
  };
}

type Vui = Pick<SpsInfo, 'maxReorderFrames' | 'framerate'>;

/** Annex E.1.1. A VUI that is cut off counts as absent: decoders do without it too. */
function readVui(bits: BitReader): Vui {
  const vui: Vui = { maxReorderFrames: undefined, framerate: undefined };
  try {
    if (!bits.flag()) {
      return vui;
    }
    skipVideoSignal(bits);
    if (bits.flag()) {
      const unitsInTick = bits.bits(32);
      const timeScale = bits.bits(32);
      bits.flag(); // fixed_frame_rate_flag
      const framerate = timeScale / (2 * unitsInTick);
      vui.framerate = framerate > 0 && framerate <= 1000 ? framerate : undefined;
    }
    const nalHrd = bits.flag();
    if (nalHrd) {
      skipHrd(bits);
    }
    const vclHrd = bits.flag();
    if (vclHrd) {
      skipHrd(bits);
    }
    if (nalHrd || vclHrd) {
      bits.flag(); // low_delay_hrd_flag
    }
    bits.flag(); // pic_struct_present_flag
    if (bits.flag()) {
      bits.flag(); // motion_vectors_over_pic_boundaries_flag
      for (let i = 0; i < 4; i++) {
        bits.unsignedExpGolomb();
      }
      vui.maxReorderFrames = bits.unsignedExpGolomb();
    }
    return vui;
  } catch {
    return vui;
  }
}

function skipVideoSignal(bits: BitReader): void {
  if (bits.flag() && bits.bits(8) === EXTENDED_SAR) {
    bits.skip(32);
  }
  if (bits.flag()) {
    bits.flag(); // overscan_appropriate_flag
  }
  if (bits.flag()) {
    bits.skip(4); // video_format, video_full_range_flag
    if (bits.flag()) {
      bits.skip(24); // colour description
    }
  }
  if (bits.flag()) {
    bits.unsignedExpGolomb(); // chroma sample location
    bits.unsignedExpGolomb();
  }
}

/** Annex E.1.2. */
function skipHrd(bits: BitReader): void {
  const count = bits.unsignedExpGolomb() + 1;
  if (count > 32) {
    throw new ServiceError('malformed', `H.264 SPS: ${count} coded picture buffers`);
  }
  bits.skip(8);
  for (let i = 0; i < count; i++) {
    bits.unsignedExpGolomb();
    bits.unsignedExpGolomb();
    bits.flag();
  }
  bits.skip(20);
}

/** RFC 6381 section 3.3: "avc1.42E01F". */
export function avcCodecString(sps: SpsInfo): string {
  const hex = [sps.profileIdc, sps.constraintFlags, sps.levelIdc].map((byte) =>
    byte.toString(16).padStart(2, '0').toUpperCase(),
  );
  return `avc1.${hex.join('')}`;
}
