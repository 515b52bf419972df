import { av1SequenceSize, readLeb128, sizedObu } from '../codecs/av1.ts';
import { parseSps } from '../codecs/h264-sps.ts';
import { H265_NAL_TYPE, h265NalType, parseHevcSps } from '../codecs/h265.ts';
import { parseVp8Header } from '../codecs/vp8.ts';
import { parseVp9KeyHeader } from '../codecs/vp9.ts';
import { H265_HEADER_LENGTH, H265_RTP_NAL } from '../packetize/h265-rtp.ts';
import { vp9DescriptorLength } from '../packetize/vp9-depacketizer.ts';
import { readU16 } from './bytes.ts';
import { startsKeyframe, type KeyframeCodec } from './keyframe.ts';
import { emptyVp8Descriptor, parseVp8Descriptor } from './vp8-descriptor.ts';

export type PictureSize = { width: number; height: number };

const H264_SPS = 7;
const H264_STAP_A = 24;

/**
 * The picture size that one RTP payload tells: key frames and parameter sets do. Undefined for all others and for what
 * is malformed. Never throws.
 */
export function pictureSizeOf(codec: KeyframeCodec, payload: Buffer): PictureSize | undefined {
  try {
    return READERS[codec](payload);
  } catch {
    // Somebody else's malformed stream: its size stays unknown, decoders will complain.
    return undefined;
  }
}

const READERS: Readonly<Record<KeyframeCodec, (payload: Buffer) => PictureSize | undefined>> = {
  h264(payload) {
    const sps = parameterSet(payload, {
      headerLength: 1,
      isAggregate: ((payload[0] ?? 0) & 0x1f) === H264_STAP_A,
      isWanted: (nal) => ((nal[0] ?? 0) & 0x1f) === H264_SPS,
    });
    return sps && parseSps(sps);
  },
  h265(payload) {
    const sps = parameterSet(payload, {
      headerLength: H265_HEADER_LENGTH,
      isAggregate: h265NalType(payload) === H265_RTP_NAL.aggregation,
      isWanted: (nal) => h265NalType(nal) === H265_NAL_TYPE.sps,
    });
    return sps && parseHevcSps(sps);
  },
  vp8(payload) {
    const { valid, keyFrame, headerLength } = parseVp8Descriptor(payload, emptyVp8Descriptor());
    const header = valid && keyFrame ? parseVp8Header(payload.subarray(headerLength)) : undefined;
    return header?.key === true ? header : undefined;
  },
  vp9(payload) {
    return startsKeyframe('vp9', payload)
      ? parseVp9KeyHeader(payload.subarray(Math.max(0, vp9DescriptorLength(payload))))
      : undefined;
  },
  /** A new sequence begins with its header (AV1 RTP specification section 4.4). */
  av1(payload) {
    if (!startsKeyframe('av1', payload)) {
      return undefined;
    }
    const elements = ((payload[0] ?? 0) >> 4) & 3;
    const length = elements === 1 ? undefined : readLeb128(payload, 1);
    const start = 1 + (length?.bytes ?? 0);
    const obu = sizedObu(payload.subarray(start, length === undefined ? undefined : start + length.value));
    return obu && av1SequenceSize(obu);
  },
};

/** It travels alone, or among others in an aggregate (RFC 6184 section 5.7.1, RFC 7798 section 4.4.2). */
function parameterSet(
  payload: Buffer,
  form: { headerLength: number; isAggregate: boolean; isWanted: (nal: Buffer) => boolean },
): Buffer | undefined {
  if (!form.isAggregate) {
    return form.isWanted(payload) ? payload : undefined;
  }
  for (let offset = form.headerLength; offset + 2 < payload.length;) {
    const end = offset + 2 + readU16(payload, offset);
    const nal = payload.subarray(offset + 2, end);
    if (form.isWanted(nal)) {
      return nal;
    }
    offset = end;
  }
  return undefined;
}
