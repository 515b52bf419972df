import { readU16, readU24, readU32 } from './bytes.ts';
import { parseTransportFeedback, type TransportFeedback } from './transport-feedback.ts';

/** RFC 3550 §6, RFC 4585, RFC 5104; REMB and transport-cc are drafts every browser speaks. */
export const RTCP_TYPE = {
  senderReport: 200,
  receiverReport: 201,
  sourceDescription: 202,
  goodbye: 203,
  transportFeedback: 205,
  payloadFeedback: 206,
} as const;
export const RTCP_FORMAT = { nack: 1, transportCc: 15, pli: 1, fir: 4, applicationLayer: 15 } as const;

export type ReceptionReport = {
  ssrc: number;
  /** 0 … 255, in 1/256. */
  fractionLost: number;
  cumulativeLost: number;
  highestSequence: number;
  /** In timestamp units. */
  jitter: number;
  lastSenderReport: number;
  /** In 1/65536 s. */
  delaySinceLastSenderReport: number;
};

export type SenderReport = {
  type: 'sr';
  ssrc: number;
  ntpSeconds: number;
  ntpFraction: number;
  rtpTimestamp: number;
  packetCount: number;
  octetCount: number;
  reports: ReceptionReport[];
};

export type RtcpPacket =
  | SenderReport
  | { type: 'rr'; ssrc: number; reports: ReceptionReport[] }
  | { type: 'sdes'; chunks: { ssrc: number; cname: string }[] }
  | { type: 'bye'; ssrcs: number[] }
  | { type: 'nack'; senderSsrc: number; mediaSsrc: number; sequenceNumbers: number[] }
  | { type: 'pli'; senderSsrc: number; mediaSsrc: number }
  | { type: 'fir'; senderSsrc: number; entries: { ssrc: number; sequenceNumber: number }[] }
  | { type: 'remb'; senderSsrc: number; bitrateBps: number; ssrcs: number[] }
  | ({ type: 'transport-cc' } & TransportFeedback);

/**
 * Reads a decrypted compound packet. Unknown types are skipped; at the first malformed one reading ends and what came
 * before it is returned. Never throws.
 */
export function parseRtcp(compound: Buffer): RtcpPacket[] {
  const packets: RtcpPacket[] = [];
  let offset = 0;
  while (offset + 4 <= compound.length) {
    const first = compound[offset] ?? 0;
    const length = (readU16(compound, offset + 2) + 1) * 4;
    let end = offset + length;
    if (first >>> 6 !== 2 || end > compound.length) {
      break;
    }
    const next = end;
    if ((first & 0x20) !== 0) {
      const padding = compound[end - 1] ?? 0;
      if (padding === 0 || padding > length - 4) {
        break;
      }
      end -= padding;
    }
    const packet = parseOne(compound.subarray(offset, end), first & 0x1f);
    if (packet === 'malformed') {
      break;
    }
    if (packet !== undefined) {
      packets.push(packet);
    }
    offset = next;
  }
  return packets;
}

function parseOne(bytes: Buffer, count: number): RtcpPacket | 'malformed' | undefined {
  switch (bytes[1]) {
    case RTCP_TYPE.senderReport:
      return parseSenderReport(bytes, count);
    case RTCP_TYPE.receiverReport: {
      const reports = parseReports(bytes, 8, count);
      return reports === undefined ? 'malformed' : { type: 'rr', ssrc: readU32(bytes, 4), reports };
    }
    case RTCP_TYPE.sourceDescription:
      return parseSdes(bytes, count);
    case RTCP_TYPE.goodbye:
      return parseBye(bytes, count);
    case RTCP_TYPE.transportFeedback:
      return bytes.length < 12 ? 'malformed' : parseTransportLayerFeedback(bytes, count);
    case RTCP_TYPE.payloadFeedback:
      return bytes.length < 12 ? 'malformed' : parsePayloadFeedback(bytes, count);
    default:
      return undefined;
  }
}

function parseSenderReport(bytes: Buffer, count: number): SenderReport | 'malformed' {
  const reports = parseReports(bytes, 28, count);
  if (reports === undefined) {
    return 'malformed';
  }
  return {
    type: 'sr',
    ssrc: readU32(bytes, 4),
    ntpSeconds: readU32(bytes, 8),
    ntpFraction: readU32(bytes, 12),
    rtpTimestamp: readU32(bytes, 16),
    packetCount: readU32(bytes, 20),
    octetCount: readU32(bytes, 24),
    reports,
  };
}

function parseReports(bytes: Buffer, start: number, count: number): ReceptionReport[] | undefined {
  if (bytes.length < start + count * 24) {
    return undefined;
  }
  const reports: ReceptionReport[] = [];
  for (let index = 0; index < count; index += 1) {
    const offset = start + index * 24;
    reports.push({
      ssrc: readU32(bytes, offset),
      fractionLost: bytes[offset + 4] ?? 0,
      // 24 bits signed: duplicates can make it negative.
      cumulativeLost: (readU24(bytes, offset + 5) << 8) >> 8,
      highestSequence: readU32(bytes, offset + 8),
      jitter: readU32(bytes, offset + 12),
      lastSenderReport: readU32(bytes, offset + 16),
      delaySinceLastSenderReport: readU32(bytes, offset + 20),
    });
  }
  return reports;
}

function parseSdes(bytes: Buffer, count: number): RtcpPacket | 'malformed' {
  const chunks: { ssrc: number; cname: string }[] = [];
  let offset = 4;
  for (let index = 0; index < count; index += 1) {
    if (offset + 4 > bytes.length) {
      return 'malformed';
    }
    const chunk = { ssrc: readU32(bytes, offset), cname: '' };
    offset += 4;
    while (offset < bytes.length && bytes[offset] !== 0) {
      const length = bytes[offset + 1] ?? 0;
      if (offset + 2 + length > bytes.length) {
        return 'malformed';
      }
      if (bytes[offset] === 1) {
        chunk.cname = bytes.toString('utf8', offset + 2, offset + 2 + length);
      }
      offset += 2 + length;
    }
    // A chunk ends with one to four zero bytes, up to the word boundary.
    offset = (offset + 4) & ~3;
    chunks.push(chunk);
  }
  return { type: 'sdes', chunks };
}

function parseBye(bytes: Buffer, count: number): RtcpPacket | 'malformed' {
  if (bytes.length < 4 + count * 4) {
    return 'malformed';
  }
  return { type: 'bye', ssrcs: readSsrcs(bytes, 4, count) };
}

function parseTransportLayerFeedback(bytes: Buffer, format: number): RtcpPacket | 'malformed' | undefined {
  if (format === RTCP_FORMAT.nack) {
    const sequenceNumbers: number[] = [];
    for (let offset = 12; offset + 4 <= bytes.length; offset += 4) {
      const first = readU16(bytes, offset);
      sequenceNumbers.push(first);
      for (let mask = readU16(bytes, offset + 2), step = 1; mask !== 0; mask >>>= 1, step += 1) {
        if ((mask & 1) !== 0) {
          sequenceNumbers.push((first + step) & 0xffff);
        }
      }
    }
    return {
      type: 'nack',
      senderSsrc: readU32(bytes, 4),
      mediaSsrc: readU32(bytes, 8),
      sequenceNumbers,
    };
  }
  if (format === RTCP_FORMAT.transportCc) {
    const feedback = parseTransportFeedback(bytes);
    return feedback === undefined ? 'malformed' : { type: 'transport-cc', ...feedback };
  }
  return undefined;
}

function parsePayloadFeedback(bytes: Buffer, format: number): RtcpPacket | 'malformed' | undefined {
  const senderSsrc = readU32(bytes, 4);
  switch (format) {
    case RTCP_FORMAT.pli:
      return { type: 'pli', senderSsrc, mediaSsrc: readU32(bytes, 8) };
    case RTCP_FORMAT.fir: {
      const entries: { ssrc: number; sequenceNumber: number }[] = [];
      for (let offset = 12; offset + 8 <= bytes.length; offset += 8) {
        entries.push({ ssrc: readU32(bytes, offset), sequenceNumber: bytes[offset + 4] ?? 0 });
      }
      return { type: 'fir', senderSsrc, entries };
    }
    case RTCP_FORMAT.applicationLayer:
      return parseRemb(bytes, senderSsrc);
    default:
      return undefined;
  }
}

function parseRemb(bytes: Buffer, senderSsrc: number): RtcpPacket | 'malformed' | undefined {
  if (bytes.length < 20 || bytes.toString('latin1', 12, 16) !== 'REMB') {
    return undefined;
  }
  const count = bytes[16] ?? 0;
  if (bytes.length < 20 + count * 4) {
    return 'malformed';
  }
  const exponent = (bytes[17] ?? 0) >>> 2;
  const mantissa = readU24(bytes, 17) & 0x3_ffff;
  return {
    type: 'remb',
    senderSsrc,
    bitrateBps: mantissa * 2 ** exponent,
    ssrcs: readSsrcs(bytes, 20, count),
  };
}

function readSsrcs(bytes: Buffer, start: number, count: number): number[] {
  const ssrcs: number[] = [];
  for (let index = 0; index < count; index += 1) {
    ssrcs.push(readU32(bytes, start + index * 4));
  }
  return ssrcs;
}
