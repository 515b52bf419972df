import { writeU16, writeU24, writeU32 } from './bytes.ts';
import { sequenceDistance } from './sequence.ts';
import { RTCP_FORMAT, RTCP_TYPE, type ReceptionReport, type SenderReport } from './rtcp.ts';

/** Each function returns one plain RTCP packet; Buffer.concat makes a compound of them (SR or RR first, RFC 3550 §6.1). */

const MAX_REPORTS = 31;

function header(length: number, count: number, type: number): Buffer {
  const packet = Buffer.alloc(length);
  packet[0] = 0x80 | count;
  packet[1] = type;
  writeU16(packet, 2, length / 4 - 1);
  return packet;
}

function feedback(length: number, format: number, type: number, sender: number, media: number): Buffer {
  const packet = header(length, format, type);
  writeU32(packet, 4, sender);
  writeU32(packet, 8, media);
  return packet;
}

function writeReports(packet: Buffer, start: number, reports: readonly ReceptionReport[]): void {
  reports.forEach((report, index) => {
    const offset = start + index * 24;
    writeU32(packet, offset, report.ssrc);
    packet[offset + 4] = report.fractionLost;
    writeU24(packet, offset + 5, Math.max(-0x80_0000, Math.min(0x7f_ffff, report.cumulativeLost)));
    writeU32(packet, offset + 8, report.highestSequence);
    writeU32(packet, offset + 12, report.jitter);
    writeU32(packet, offset + 16, report.lastSenderReport);
    writeU32(packet, offset + 20, report.delaySinceLastSenderReport);
  });
}

/** At most 31 reports fit; more are cut off. */
export function buildSenderReport(report: Omit<SenderReport, 'type'>): Buffer {
  const reports = report.reports.slice(0, MAX_REPORTS);
  const packet = header(28 + reports.length * 24, reports.length, RTCP_TYPE.senderReport);
  writeU32(packet, 4, report.ssrc);
  writeU32(packet, 8, report.ntpSeconds);
  writeU32(packet, 12, report.ntpFraction);
  writeU32(packet, 16, report.rtpTimestamp);
  writeU32(packet, 20, report.packetCount);
  writeU32(packet, 24, report.octetCount);
  writeReports(packet, 28, reports);
  return packet;
}

/** At most 31 reports fit; more are cut off. */
export function buildReceiverReport(ssrc: number, all: readonly ReceptionReport[]): Buffer {
  const reports = all.slice(0, MAX_REPORTS);
  const packet = header(8 + reports.length * 24, reports.length, RTCP_TYPE.receiverReport);
  writeU32(packet, 4, ssrc);
  writeReports(packet, 8, reports);
  return packet;
}

/** One chunk with a CNAME item. */
export function buildSdes(ssrc: number, cname: string): Buffer {
  const text = Buffer.from(cname, 'utf8').subarray(0, 255);
  const length = (8 + 2 + text.length + 4) & ~3;
  const packet = header(length, 1, RTCP_TYPE.sourceDescription);
  writeU32(packet, 4, ssrc);
  packet[8] = 1;
  packet[9] = text.length;
  text.copy(packet, 10);
  return packet;
}

/** At most 31 SSRCs fit; more are cut off. */
export function buildBye(all: readonly number[]): Buffer {
  const ssrcs = all.slice(0, MAX_REPORTS);
  const packet = header(4 + ssrcs.length * 4, ssrcs.length, RTCP_TYPE.goodbye);
  ssrcs.forEach((ssrc, index) => writeU32(packet, 4 + index * 4, ssrc));
  return packet;
}

/** Generic NACK, RFC 4585 §6.2.1. `sequenceNumbers` ascend in wrapping order. */
export function buildNack(senderSsrc: number, mediaSsrc: number, sequenceNumbers: readonly number[]): Buffer {
  const entries: { first: number; mask: number }[] = [];
  for (const sequenceNumber of sequenceNumbers) {
    const last = entries.at(-1);
    const distance = last === undefined ? 0 : sequenceDistance(sequenceNumber, last.first);
    if (last !== undefined && distance >= 1 && distance <= 16) {
      last.mask |= 1 << (distance - 1);
    } else {
      entries.push({ first: sequenceNumber, mask: 0 });
    }
  }
  const length = 12 + entries.length * 4;
  const packet = feedback(length, RTCP_FORMAT.nack, RTCP_TYPE.transportFeedback, senderSsrc, mediaSsrc);
  entries.forEach(({ first, mask }, index) => {
    writeU16(packet, 12 + index * 4, first);
    writeU16(packet, 14 + index * 4, mask);
  });
  return packet;
}

export function buildPli(senderSsrc: number, mediaSsrc: number): Buffer {
  return feedback(12, RTCP_FORMAT.pli, RTCP_TYPE.payloadFeedback, senderSsrc, mediaSsrc);
}

/** `sequenceNumber` counts up with every new request, RFC 5104 §4.3.1. */
export function buildFir(senderSsrc: number, mediaSsrc: number, sequenceNumber: number): Buffer {
  const packet = feedback(20, RTCP_FORMAT.fir, RTCP_TYPE.payloadFeedback, senderSsrc, 0);
  writeU32(packet, 12, mediaSsrc);
  packet[16] = sequenceNumber & 0xff;
  return packet;
}

/** Receiver estimated maximum bitrate, draft-alvestrand-rmcat-remb-03 §2.2. */
export function buildRemb(senderSsrc: number, bitrateBps: number, ssrcs: readonly number[]): Buffer {
  const listed = ssrcs.slice(0, 255);
  const packet = feedback(
    20 + listed.length * 4,
    RTCP_FORMAT.applicationLayer,
    RTCP_TYPE.payloadFeedback,
    senderSsrc,
    0,
  );
  packet.write('REMB', 12, 'latin1');
  packet[16] = listed.length;
  let exponent = 0;
  let mantissa = Math.max(0, Math.floor(bitrateBps));
  while (mantissa > 0x3_ffff) {
    mantissa = Math.floor(mantissa / 2);
    exponent += 1;
  }
  writeU24(packet, 17, (exponent << 18) | mantissa);
  listed.forEach((ssrc, index) => writeU32(packet, 20 + index * 4, ssrc));
  return packet;
}
