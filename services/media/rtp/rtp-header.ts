import { readU16, readU32, writeU16, writeU32 } from './bytes.ts';

/** RTP fixed header, RFC 3550 §5.1. Everything here works on offsets; no object per packet. */
export const RTP_FIXED_HEADER_LENGTH = 12;
const RTP_VERSION = 2;

const ONE_BYTE_PROFILE = 0xbede;
const TWO_BYTE_PROFILE = 0x1000;

/** RFC 7983 demultiplexing by the first byte of a datagram. */
export function looksLikeRtpOrRtcp(datagram: Uint8Array): boolean {
  const first = datagram[0] ?? 0;
  return first >= 128 && first <= 191;
}

/** RFC 5761 §4: RTCP packet types 192–223 share the byte with marker + payload type. */
export function looksLikeRtcp(datagram: Uint8Array): boolean {
  const second = datagram[1] ?? 0;
  return second >= 192 && second <= 223;
}

/** Length of header + CSRCs + extension block in bytes, or -1 when the packet is not valid RTP. */
export function rtpHeaderLength(packet: Uint8Array): number {
  const first = packet[0] ?? 0;
  if (packet.length < RTP_FIXED_HEADER_LENGTH || first >>> 6 !== RTP_VERSION) {
    return -1;
  }
  let length = RTP_FIXED_HEADER_LENGTH + (first & 0x0f) * 4;
  if ((first & 0x10) !== 0) {
    if (packet.length < length + 4) {
      return -1;
    }
    length += 4 + readU16(packet, length + 2) * 4;
  }
  return length <= packet.length ? length : -1;
}

export function rtpMarker(packet: Uint8Array): boolean {
  return ((packet[1] ?? 0) & 0x80) !== 0;
}

export function rtpPayloadType(packet: Uint8Array): number {
  return (packet[1] ?? 0) & 0x7f;
}

export function rtpSequenceNumber(packet: Uint8Array): number {
  return readU16(packet, 2);
}

export function rtpTimestamp(packet: Uint8Array): number {
  return readU32(packet, 4);
}

export function rtpSsrc(packet: Uint8Array): number {
  return readU32(packet, 8);
}

/** True when the padding bit is set; the padding itself is inside the (decrypted) payload. */
export function rtpHasPadding(packet: Uint8Array): boolean {
  return ((packet[0] ?? 0) & 0x20) !== 0;
}

/**
 * Length of the payload without RTP padding. `payload` is decrypted and still padded.
 * Returns -1 when the padding count is impossible.
 */
export function unpaddedLength(packet: Uint8Array, payload: Uint8Array): number {
  if (!rtpHasPadding(packet)) {
    return payload.length;
  }
  const padding = payload[payload.length - 1] ?? 0;
  return padding === 0 || padding > payload.length ? -1 : payload.length - padding;
}

/**
 * Finds a header extension element (RFC 8285, one- and two-byte form) by its negotiated id; id 0 is never found.
 * Returns `offset << 8 | length` so that no object is needed (see extensionOffset/extensionLength), or -1.
 * The caller has checked the packet with rtpHeaderLength().
 */
export function findExtension(packet: Uint8Array, id: number): number {
  const first = packet[0] ?? 0;
  if (id === 0 || (first & 0x10) === 0) {
    return -1;
  }
  let offset = RTP_FIXED_HEADER_LENGTH + (first & 0x0f) * 4;
  const profile = readU16(packet, offset);
  const end = Math.min(packet.length, offset + 4 + readU16(packet, offset + 2) * 4);
  offset += 4;
  if (profile === ONE_BYTE_PROFILE) {
    while (offset < end) {
      const head = packet[offset] ?? 0;
      const elementId = head >>> 4;
      if (head === 0) {
        offset += 1;
        continue;
      }
      // §4.2: id 15 and a padding byte with a length both end the processing.
      if (elementId === 15 || elementId === 0) {
        return -1;
      }
      const length = (head & 0x0f) + 1;
      if (offset + 1 + length > end) {
        return -1;
      }
      if (elementId === id) {
        return ((offset + 1) << 8) | length;
      }
      offset += 1 + length;
    }
  } else if ((profile & 0xfff0) === TWO_BYTE_PROFILE) {
    while (offset + 1 < end) {
      const elementId = packet[offset] ?? 0;
      if (elementId === 0) {
        offset += 1;
        continue;
      }
      const length = packet[offset + 1] ?? 0;
      if (offset + 2 + length > end) {
        return -1;
      }
      if (elementId === id) {
        return ((offset + 2) << 8) | length;
      }
      offset += 2 + length;
    }
  }
  return -1;
}

export function extensionOffset(found: number): number {
  return found >>> 8;
}

export function extensionLength(found: number): number {
  return found & 0xff;
}

/** Text of an SDES-style extension (mid, rid), or '' when absent. */
export function extensionText(packet: Buffer, id: number): string {
  const found = findExtension(packet, id);
  if (found < 0) {
    return '';
  }
  const offset = extensionOffset(found);
  return packet.toString('latin1', offset, offset + extensionLength(found));
}

export type RtpHeaderFields = {
  payloadType: number;
  marker: boolean;
  sequenceNumber: number;
  timestamp: number;
  ssrc: number;
  /** Elements in order; data of 1–16 bytes and ids 1–14 use the one-byte form, anything else the two-byte form. */
  extensions?: readonly { id: number; data: Uint8Array }[];
};

/** Writes a header without CSRCs at the start of `out` and returns its length. */
export function writeRtpHeader(out: Uint8Array, fields: RtpHeaderFields): number {
  const extensions = fields.extensions ?? [];
  out[0] = (RTP_VERSION << 6) | (extensions.length > 0 ? 0x10 : 0);
  out[1] = (fields.marker ? 0x80 : 0) | (fields.payloadType & 0x7f);
  writeU16(out, 2, fields.sequenceNumber);
  writeU32(out, 4, fields.timestamp);
  writeU32(out, 8, fields.ssrc);
  if (extensions.length === 0) {
    return RTP_FIXED_HEADER_LENGTH;
  }
  const oneByte = extensions.every(
    ({ id, data }) => id >= 1 && id <= 14 && data.length >= 1 && data.length <= 16,
  );
  let offset = RTP_FIXED_HEADER_LENGTH + 4;
  for (const { id, data } of extensions) {
    if (oneByte) {
      out[offset++] = (id << 4) | (data.length - 1);
    } else {
      out[offset++] = id;
      out[offset++] = data.length;
    }
    out.set(data, offset);
    offset += data.length;
  }
  while ((offset & 3) !== 0) {
    out[offset++] = 0;
  }
  writeU16(out, RTP_FIXED_HEADER_LENGTH, oneByte ? ONE_BYTE_PROFILE : TWO_BYTE_PROFILE);
  writeU16(out, RTP_FIXED_HEADER_LENGTH + 2, (offset - RTP_FIXED_HEADER_LENGTH - 4) / 4);
  return offset;
}
