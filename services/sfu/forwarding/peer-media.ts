import type { Logger } from '../../base/logger.ts';
import { nowNtpUs } from '../../media/rtp/ntp.ts';
import { parseRtcp, type ReceptionReport, type SenderReport } from '../../media/rtp/rtcp.ts';
import { buildNack, buildPli } from '../../media/rtp/rtcp-build.ts';
import { rtpHeaderLength } from '../../media/rtp/rtp-header.ts';
import type { SrtpSender } from '../../media/rtp/srtp-sender.ts';
import type { SrtpSession } from '../../media/rtp/srtp.ts';
import type {
  Forwarder,
  HeaderExtensionIds,
  PeerMedia,
  Publication,
  PublicationOptions,
} from '../media-types.ts';
import type { ForwarderOutlet } from './forwarder-outlet.ts';
import { ForwarderSet, randomSsrc } from './forwarder-set.ts';
import { InboundMedia } from './inbound-media.ts';
import type { MediaTicker } from './media-ticker.ts';
import { OutboundBatch } from './outbound-batch.ts';
import { buildReceptionReports } from './reports.ts';
import { PublisherClock } from './publisher-clock.ts';
import { TrackPublication } from './track-publication.ts';

const REPORT_INTERVAL_MS = 1_000;
const RETARGET_INTERVAL_MS = 250;

export type RtpPeerMediaOptions = {
  send: (datagram: Uint8Array) => void;
  ticker: MediaTicker;
  logger: Logger;
  /** The client wants its media in bursts this far apart; 0 = at once. */
  batchMs?: number;
};

/** All RTP and RTCP of one transport: what its client publishes, and what is forwarded to it. */
export class RtpPeerMedia implements PeerMedia, ForwarderOutlet {
  readonly extensions: HeaderExtensionIds = {
    mid: 0,
    rid: 0,
    repairedRid: 0,
    transportCc: 0,
    absSendTime: 0,
    audioLevel: 0,
    dependencyDescriptor: 0,
  };
  readonly #options: RtpPeerMediaOptions;
  readonly #inbound = new InboundMedia(this.extensions);
  readonly #forwarders: ForwarderSet;
  readonly #clock = new PublisherClock();
  readonly #batch: OutboundBatch | undefined;
  readonly #ssrc = randomSsrc();
  readonly #counters = { packetsIn: 0, packetsOut: 0, bytesIn: 0, bytesOut: 0 };
  #srtp: SrtpSession | undefined;
  #stopTicks: (() => void) | undefined;
  #mediaSsrc = 0;
  #transportSequence = 0;
  #nextReportMs = 0;
  #nextRetargetMs = 0;

  constructor(options: RtpPeerMediaOptions) {
    this.#options = options;
    this.#forwarders = new ForwarderSet(options.logger);
    const { batchMs = 0 } = options;
    this.#batch =
      batchMs > 0 ? new OutboundBatch({ batchMs, send: (datagram) => this.#transmit(datagram) }) : undefined;
  }

  get srtpSender(): SrtpSender | undefined {
    return this.#srtp?.sender;
  }

  get batches(): boolean {
    return this.#batch !== undefined;
  }

  get availableOutgoingKbps(): number {
    return this.#forwarders.rembKbps;
  }

  /** Called when DTLS has delivered the keys. */
  start(srtp: SrtpSession): void {
    this.#srtp = srtp;
    this.#stopTicks ??= this.#options.ticker.add((nowMs) => this.#tick(nowMs));
    this.#forwarders.retarget();
  }

  /** Ends everything this peer sends and receives; forwarders of its publications to others fall silent. */
  stop(): void {
    this.#stopTicks?.();
    this.#stopTicks = undefined;
    this.#batch?.flush();
    this.#srtp = undefined;
    this.#forwarders.clear();
  }

  flush(): void {
    this.#batch?.flush();
  }

  addPublication(options: PublicationOptions): Publication {
    this.removePublication(options.mid);
    const publication = new TrackPublication({
      publication: options,
      clock: this.#clock,
      sendPli: (ssrc) => this.#sendRtcp(buildPli(this.#ssrc, ssrc)),
    });
    this.#inbound.demux.addPublication(publication);
    return publication;
  }

  removePublication(mid: string): void {
    this.#inbound.removePublication(mid);
  }

  publication(mid: string): Publication | undefined {
    return this.#inbound.demux.publicationByMid(mid);
  }

  createForwarder(publication: Publication): Forwarder {
    if (!(publication instanceof TrackPublication)) {
      throw new TypeError('the publication belongs to another media plane');
    }
    return this.#forwarders.create(publication, this, this.#ssrc);
  }

  removeForwarder(forwarder: Forwarder): void {
    forwarder.unbind();
    // Before the client hears by signalling that the track is gone and stops listening.
    this.#batch?.flush();
    this.#forwarders.remove(forwarder);
  }

  stats(): ReturnType<PeerMedia['stats']> {
    const failures = this.#srtp?.receiver.counters.authFailures ?? 0;
    return { ...this.#counters, decryptFailures: failures };
  }

  sendMedia(datagram: Buffer, nowMs: number): void {
    if (this.#batch === undefined) {
      this.#transmit(datagram);
    } else {
      this.#options.ticker.hurry();
      this.#batch.push(datagram, nowMs);
    }
  }

  /** What cannot wait wakes the receiver anyway, so it takes along what waits. */
  sendUrgent(datagram: Buffer): void {
    this.#batch?.flush();
    this.#transmit(datagram);
  }

  #transmit(datagram: Buffer): void {
    this.#counters.packetsOut += 1;
    this.#counters.bytesOut += datagram.length;
    this.#options.send(datagram);
  }

  hurry(): void {
    this.#options.ticker.hurry();
  }

  readonly nextTransportSequence = (): number => {
    this.#transportSequence = (this.#transportSequence + 1) & 0xffff;
    return this.#transportSequence;
  };

  /** The packet path. */
  handleSrtp(packet: Buffer): void {
    const headerLength = rtpHeaderLength(packet);
    const padded = headerLength < 0 ? undefined : this.#srtp?.receiver.unprotectRtp(packet, headerLength);
    if (padded === undefined) {
      return;
    }
    const nowMs = performance.now();
    this.#counters.packetsIn += 1;
    this.#counters.bytesIn += packet.length;
    this.#inbound.receive(packet, padded, nowMs);
    if (this.#inbound.awaitsTick) {
      this.#options.ticker.hurry();
    }
  }

  /** The packet path of a sender in this process: authentic by being here. Its memory is left as it was and not kept. */
  handleLocalRtp(packet: Buffer, headerLength: number): void {
    if (this.#srtp === undefined) {
      return;
    }
    this.#counters.packetsIn += 1;
    this.#counters.bytesIn += packet.length;
    try {
      this.#inbound.receiveLocal(packet, packet.subarray(headerLength), performance.now());
    } catch (error) {
      this.#options.logger.error({ err: error }, 'local packet not forwarded');
    }
  }

  handleSrtcp(packet: Buffer): void {
    const compound = this.#srtp?.receiver.unprotectRtcp(packet);
    if (compound === undefined) {
      return;
    }
    this.#counters.bytesIn += packet.length;
    for (const part of parseRtcp(compound)) {
      if (part.type === 'sr') {
        this.#onSenderReport(part);
      }
      this.#forwarders.onRtcp(part);
    }
  }

  #onSenderReport(report: SenderReport): void {
    const stream = this.#inbound.demux.streamBySsrc(report.ssrc);
    if (stream?.role.kind === 'media') {
      const ntpUs = stream.onSenderReport(report, performance.now());
      this.#clock.onReport(ntpUs, nowNtpUs());
    }
  }

  /** True when something waits for the next tick. */
  #tick(nowMs: number): boolean {
    this.#batch?.flushDue(nowMs);
    this.#sendAll(this.#inbound.arrivals.takeDue(nowMs, this.#ssrc, this.#mediaSsrc));
    let isAwaited = this.#inbound.arrivals.hasPending || this.#batch?.isEmpty === false;
    for (const stream of this.#inbound.demux.streams) {
      if (stream.nack !== undefined && stream.nack.missingCount > 0) {
        isAwaited = true;
        const due = stream.nack.takeDue(nowMs);
        if (due.length > 0) {
          this.#sendRtcp(
            buildNack(
              this.#ssrc,
              stream.ssrc,
              due.map((sequence) => sequence & 0xffff),
            ),
          );
        }
      }
    }
    isAwaited = this.#forwarders.replay(nowMs) || isAwaited;
    if (this.#forwarders.owesReport) {
      this.#sendAll(this.#forwarders.takeOwedReports(nowMs));
      isAwaited ||= this.#forwarders.owesReport;
    }
    if (nowMs >= this.#nextRetargetMs) {
      this.#nextRetargetMs = nowMs + RETARGET_INTERVAL_MS;
      this.#forwarders.retarget();
    }
    if (nowMs >= this.#nextReportMs) {
      this.#nextReportMs = nowMs + REPORT_INTERVAL_MS;
      this.#report(nowMs);
    }
    return isAwaited;
  }

  #report(nowMs: number): void {
    const reports: ReceptionReport[] = [];
    for (const stream of this.#inbound.demux.streams) {
      stream.measureBitrate(nowMs);
      if (stream.role.kind === 'media') {
        this.#mediaSsrc = stream.ssrc;
      }
      const report = stream.takeReceptionReport(nowMs);
      if (report !== undefined) {
        reports.push(report);
      }
    }
    this.#sendAll(buildReceptionReports(this.#ssrc, reports));
    this.#sendAll(this.#forwarders.report(nowMs));
  }

  #sendAll(packets: readonly Buffer[]): void {
    for (const packet of packets) {
      this.#sendRtcp(packet);
    }
  }

  #sendRtcp(packet: Buffer): void {
    const sender = this.#srtp?.sender;
    if (sender === undefined) {
      return;
    }
    try {
      this.sendUrgent(sender.protectRtcp(packet));
    } catch (error) {
      this.#options.logger.warn({ err: error }, 'RTCP not sent');
    }
  }
}
