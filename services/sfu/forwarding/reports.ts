import { ntpFraction, ntpSeconds } from '../../media/rtp/ntp.ts';
import { buildReceiverReport, buildSdes, buildSenderReport } from '../../media/rtp/rtcp-build.ts';
import type { ReceptionReport } from '../../media/rtp/rtcp.ts';

const MAX_REPORTS_PER_PACKET = 31;
/** Streams are matched by their stream id in SDP, the canonical name only has to be there (RFC 3550 §6.1). */
const CNAME = 'sluice';

/** Compound packets of RR + SDES, as many as needed. */
export function buildReceptionReports(ssrc: number, reports: readonly ReceptionReport[]): Buffer[] {
  const compounds: Buffer[] = [];
  for (let start = 0; start < reports.length; start += MAX_REPORTS_PER_PACKET) {
    const some = reports.slice(start, start + MAX_REPORTS_PER_PACKET);
    compounds.push(Buffer.concat([buildReceiverReport(ssrc, some), buildSdes(ssrc, CNAME)]));
  }
  return compounds;
}

/** A compound packet of SR + SDES. */
export function buildSendReport(report: {
  ssrc: number;
  ntpUs: number;
  rtpTimestamp: number;
  packets: number;
  octets: number;
}): Buffer {
  return Buffer.concat([
    buildSenderReport({
      ssrc: report.ssrc,
      ntpSeconds: ntpSeconds(report.ntpUs),
      ntpFraction: ntpFraction(report.ntpUs),
      rtpTimestamp: report.rtpTimestamp >>> 0,
      packetCount: report.packets,
      octetCount: report.octets,
      reports: [],
    }),
    buildSdes(report.ssrc, CNAME),
  ]);
}
