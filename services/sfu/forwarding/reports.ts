import type { Rewriting } from './rewriting.ts';
import type { TrackPublication } from './track-publication.ts';
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

export type ReportedSender = {
  ssrc: number;
  sent: { packets: number; octets: number };
  rewriting: Rewriting;
  publication: TrackPublication;
};

/**
 * A compound packet of SR + SDES for this moment; undefined while nothing relates the stream to a clock.
 * @param mayGuess from the time since the last packet, when the publisher sends no reports.
 */
export function buildSendReport(
  { ssrc, sent, rewriting, publication }: ReportedSender,
  mayGuess: boolean,
  nowNtpUs: number,
  nowMs: number,
): Buffer | undefined {
  const rtpTimestamp = timestampNow(rewriting, publication, mayGuess, nowNtpUs, nowMs);
  if (rtpTimestamp === undefined) {
    return undefined;
  }
  const report = buildSenderReport({
    ssrc,
    ntpSeconds: ntpSeconds(nowNtpUs),
    ntpFraction: ntpFraction(nowNtpUs),
    rtpTimestamp: rtpTimestamp >>> 0,
    packetCount: sent.packets,
    octetCount: sent.octets,
    reports: [],
  });
  return Buffer.concat([report, buildSdes(ssrc, CNAME)]);
}

/** By the publisher's own mapping, moved by the same clock offset for all its tracks, which keeps its lip sync. */
function timestampNow(
  { stream, timestampOffset, lastTimestamp, lastSentMs }: Rewriting,
  { clock, codec }: TrackPublication,
  mayGuess: boolean,
  nowNtpUs: number,
  nowMs: number,
): number | undefined {
  const { offsetUs } = clock;
  const mapped = offsetUs === undefined ? undefined : stream?.clock.rtpAt(nowNtpUs - offsetUs);
  if (mapped !== undefined) {
    return mapped + timestampOffset;
  }
  return mayGuess ? lastTimestamp + Math.round(((nowMs - lastSentMs) * codec.clockRateHz) / 1000) : undefined;
}
