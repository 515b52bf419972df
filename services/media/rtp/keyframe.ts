import { readU16 } from './bytes.ts';

/** A codec as it appears in an rtpmap line, lower case. */
export type KeyframeCodec = 'h264' | 'h265' | 'vp8' | 'vp9' | 'av1';

/**
 * True when this RTP payload begins (or carries the beginning of) a picture from which decoding can start.
 * Works on the payload alone, without reassembly; malformed payloads are never key frames.
 */
export function startsKeyframe(codec: KeyframeCodec, payload: Uint8Array): boolean {
  switch (codec) {
    case 'h264':
      return h264(payload);
    case 'h265':
      return h265(payload);
    case 'vp8':
      return vp8(payload);
    case 'vp9':
      return vp9(payload);
    case 'av1':
      // Aggregation header, N bit: first packet of a new coded video sequence (AV1 RTP spec §4.4).
      return payload.length > 1 && ((payload[0] ?? 0) & 0x08) !== 0;
  }
}

const H264_IDR = 5;
const H264_SPS = 7;
const H264_STAP_A = 24;
const H264_FU_A = 28;

/** RFC 6184: the SPS in front of an IDR counts as the start, so that parameter sets are never cut off. */
function h264(payload: Uint8Array): boolean {
  const type = (payload[0] ?? 0) & 0x1f;
  if (type === H264_IDR || type === H264_SPS) {
    return payload.length > 1;
  }
  if (type === H264_STAP_A) {
    for (let offset = 1; offset + 2 < payload.length;) {
      const inner = (payload[offset + 2] ?? 0) & 0x1f;
      if (inner === H264_IDR || inner === H264_SPS) {
        return true;
      }
      offset += 2 + readU16(payload, offset);
    }
    return false;
  }
  if (type === H264_FU_A) {
    const fuHeader = payload[1] ?? 0;
    return (fuHeader & 0x80) !== 0 && (fuHeader & 0x1f) === H264_IDR;
  }
  return false;
}

const H265_AGGREGATION = 48;
const H265_FRAGMENTATION = 49;

/** RFC 7798: IRAP pictures are 16–23 (BLA, IDR, CRA); VPS and SPS are 32 and 33. */
function h265Start(type: number): boolean {
  return (type >= 16 && type <= 23) || type === 32 || type === 33;
}

function h265(payload: Uint8Array): boolean {
  if (payload.length < 3) {
    return false;
  }
  const type = ((payload[0] ?? 0) >>> 1) & 0x3f;
  if (type === H265_AGGREGATION) {
    for (let offset = 2; offset + 2 < payload.length;) {
      if (h265Start(((payload[offset + 2] ?? 0) >>> 1) & 0x3f)) {
        return true;
      }
      offset += 2 + readU16(payload, offset);
    }
    return false;
  }
  if (type === H265_FRAGMENTATION) {
    const fuHeader = payload[2] ?? 0;
    return (fuHeader & 0x80) !== 0 && h265Start(fuHeader & 0x3f);
  }
  return h265Start(type);
}

/** RFC 7741: start of partition 0 and the inverse key frame bit of the frame header. */
function vp8(payload: Uint8Array): boolean {
  const first = payload[0] ?? 0;
  if ((first & 0x17) !== 0x10) {
    return false;
  }
  let offset = 1;
  if ((first & 0x80) !== 0) {
    const extension = payload[1] ?? 0;
    offset = 2;
    if ((extension & 0x80) !== 0) {
      offset += ((payload[2] ?? 0) & 0x80) !== 0 ? 2 : 1;
    }
    if ((extension & 0x40) !== 0) {
      offset += 1;
    }
    if ((extension & 0x30) !== 0) {
      offset += 1;
    }
  }
  return offset < payload.length && ((payload[offset] ?? 1) & 1) === 0;
}

/**
 * RFC 9628 §4.2: B set, P (inter-picture predicted) clear, and – when layer indices are present – spatial layer 0, since
 * the upper spatial layers of a key picture are not inter-predicted either.
 */
function vp9(payload: Uint8Array): boolean {
  const first = payload[0] ?? 0;
  if (payload.length < 2 || (first & 0x48) !== 0x08) {
    return false;
  }
  if ((first & 0x20) === 0) {
    return true;
  }
  let offset = 1;
  if ((first & 0x80) !== 0) {
    offset += ((payload[1] ?? 0) & 0x80) !== 0 ? 2 : 1;
  }
  return offset < payload.length && (((payload[offset] ?? 0) >>> 1) & 0x07) === 0;
}
