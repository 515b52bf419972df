import { randomInt } from 'node:crypto';
import type { Logger } from '../../base/logger.ts';
import { nowNtpUs } from '../../media/rtp/ntp.ts';
import { parseRtcp, type RtcpPacket } from '../../media/rtp/rtcp.ts';
import { buildNack, buildPli, buildReceiverReport, buildSdes } from '../../media/rtp/rtcp-build.ts';
import {
  extensionLength,
  extensionOffset,
  findExtension,
  rtpHeaderLength,
  rtpMarker,
  rtpSequenceNumber,
  rtpSsrc,
  rtpTimestamp,
  unpaddedLength,
} from '../../media/rtp/rtp-header.ts';
import type { SrtpSender } from '../../media/rtp/srtp-sender.ts';
import type { SrtpSession } from '../../media/rtp/srtp.ts';
import { readU16 } from '../../media/rtp/bytes.ts';
import type {
  Forwarder,
  HeaderExtensionIds,
  PeerMedia,
  Publication,
  PublicationOptions,
} from '../media-types.ts';
import { ArrivalRecorder } from './arrival-recorder.ts';
import { allocateLayers, DownlinkCongestion } from './congestion.ts';
import type { InboundStream } from './inbound-stream.ts';
import type { MediaTicker } from './media-ticker.ts';
import { PublisherClock } from './publisher-clock.ts';
import { StreamDemux } from './stream-demux.ts';
import { TrackForwarder, type ForwarderOutlet } from './track-forwarder.ts';
import { TrackPublication } from './track-publication.ts';

const REPORT_INTERVAL_MS = 1_000;
const RETARGET_INTERVAL_MS = 250;
const MAX_REPORTS_PER_PACKET = 31;
const CNAME = 'sluice';

export type RtpPeerMediaOptions = {
  send: (datagram: Uint8Array) => void;
  ticker: MediaTicker;
  logger: Logger;
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
  readonly #demux = new StreamDemux(this.extensions);
  readonly #forwarders = new Set<TrackForwarder>();
  readonly #forwardersBySsrc = new Map<number, TrackForwarder>();
  readonly #clock = new PublisherClock();
  readonly #arrivals = new ArrivalRecorder();
  readonly #congestion = new DownlinkCongestion();
  readonly #ssrc = randomSsrc();
  readonly #counters = { packetsIn: 0, packetsOut: 0, bytesIn: 0, bytesOut: 0 };
  #srtp: SrtpSession | undefined;
  #stopTicks: (() => void) | undefined;
  #lastStream: InboundStream | undefined;
  #mediaSsrc = 0;
  #transportSequence = 0;
  #nextReportMs = 0;
  #nextRetargetMs = 0;

  constructor(options: RtpPeerMediaOptions) {
    this.#options = options;
  }

  get srtpSender(): SrtpSender | undefined {
    return this.#srtp?.sender;
  }

  get availableOutgoingKbps(): number {
    return this.#congestion.rembKbps;
  }

  /** Called when DTLS has delivered the keys. */
  start(srtp: SrtpSession): void {
    this.#srtp = srtp;
    this.#stopTicks ??= this.#options.ticker.add((nowMs) => this.#tick(nowMs));
    for (const forwarder of this.#forwarders) {
      forwarder.retarget();
    }
  }

  /** Ends everything this peer sends and receives; forwarders of its publications to others fall silent. */
  stop(): void {
    this.#stopTicks?.();
    this.#stopTicks = undefined;
    this.#srtp = undefined;
    for (const forwarder of this.#forwarders) {
      forwarder.unbind();
    }
    this.#forwarders.clear();
    this.#forwardersBySsrc.clear();
  }

  addPublication(options: PublicationOptions): Publication {
    this.removePublication(options.mid);
    const publication = new TrackPublication({
      publication: options,
      clock: this.#clock,
      sendPli: (ssrc) => this.#sendRtcp(buildPli(this.#ssrc, ssrc)),
    });
    this.#demux.addPublication(publication);
    return publication;
  }

  removePublication(mid: string): void {
    this.#demux.removePublication(mid);
    this.#lastStream = undefined;
  }

  publication(mid: string): Publication | undefined {
    return this.#demux.publicationByMid(mid);
  }

  createForwarder(publication: Publication): Forwarder {
    if (!(publication instanceof TrackPublication)) {
      throw new TypeError('the publication belongs to another media plane');
    }
    const forwarder = new TrackForwarder({
      publication,
      outlet: this,
      ssrc: this.#freeSsrc(),
      rtxSsrc: this.#freeSsrc(),
    });
    this.#forwarders.add(forwarder);
    this.#forwardersBySsrc.set(forwarder.ssrc, forwarder);
    return forwarder;
  }

  removeForwarder(forwarder: Forwarder): void {
    forwarder.unbind();
    const own = this.#forwardersBySsrc.get(forwarder.ssrc);
    if (own !== undefined) {
      this.#forwarders.delete(own);
      this.#forwardersBySsrc.delete(own.ssrc);
    }
  }

  stats(): ReturnType<PeerMedia['stats']> {
    const failures = this.#srtp?.receiver.counters.authFailures ?? 0;
    return { ...this.#counters, decryptFailures: failures };
  }

  send(datagram: Buffer): void {
    this.#counters.packetsOut += 1;
    this.#counters.bytesOut += datagram.length;
    this.#options.send(datagram);
  }

  nextTransportSequence(): number {
    this.#transportSequence = (this.#transportSequence + 1) & 0xffff;
    return this.#transportSequence;
  }

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
    const { extensions } = this;
    const transportCc = findExtension(packet, extensions.transportCc);
    if (transportCc >= 0) {
      this.#arrivals.record(readU16(packet, extensionOffset(transportCc)), Math.round(nowMs * 1000));
    }
    const ssrc = rtpSsrc(packet);
    const stream = this.#lastStream?.ssrc === ssrc ? this.#lastStream : this.#findStream(packet, ssrc);
    const length = unpaddedLength(packet, padded);
    if (stream === undefined || length < 0) {
      return;
    }
    this.#lastStream = stream;
    const payload = length === padded.length ? padded : padded.subarray(0, length);
    const timestamp = rtpTimestamp(packet);
    const sequence = stream.onPacket(rtpSequenceNumber(packet), timestamp, payload.length, nowMs);
    if (stream.role.kind === 'rtx') {
      this.#onRepair(stream.role.repairs, packet, payload, timestamp, nowMs);
    } else {
      this.#onMedia(stream, packet, payload, sequence, timestamp, nowMs);
    }
  }

  #findStream(packet: Buffer, ssrc: number): InboundStream | undefined {
    return this.#demux.streamBySsrc(ssrc) ?? this.#demux.place(packet, ssrc);
  }

  /** RFC 4588: the payload begins with the original sequence number. Padding-only RTX (probing) is shorter. */
  #onRepair(stream: InboundStream, packet: Buffer, payload: Buffer, timestamp: number, nowMs: number): void {
    if (payload.length < 2) {
      return;
    }
    const sequence = stream.extend(readU16(payload, 0));
    if (sequence >= stream.highestSequence || stream.nack?.onArrival(sequence) !== true) {
      return;
    }
    stream.recovered += 1;
    this.#onMedia(stream, packet, payload.subarray(2), sequence, timestamp, nowMs);
  }

  #onMedia(
    stream: InboundStream,
    packet: Buffer,
    payload: Buffer,
    sequence: number,
    timestamp: number,
    nowMs: number,
  ): void {
    const publication = this.#demux.publicationOf(stream);
    if (publication === undefined) {
      return;
    }
    const marker = rtpMarker(packet);
    let descriptor: Buffer | undefined;
    if (publication.kind === 'audio') {
      const level = findExtension(packet, this.extensions.audioLevel);
      if (level >= 0) {
        publication.onAudioLevel((packet[extensionOffset(level)] ?? 0) & 0x7f);
      }
    } else {
      if (publication.needsDependencyDescriptor) {
        const found = findExtension(packet, this.extensions.dependencyDescriptor);
        const offset = extensionOffset(found);
        descriptor = found < 0 ? undefined : packet.subarray(offset, offset + extensionLength(found));
      }
      if (stream.needsKeyframe && stream.role.kind === 'media') {
        stream.needsKeyframe = false;
        publication.requestKeyframe(stream.role.layer);
      }
    }
    if (stream.store(sequence, timestamp, marker, payload, descriptor)) {
      publication.onMedia(stream, payload, sequence, timestamp, marker, descriptor, nowMs);
    }
  }

  handleSrtcp(packet: Buffer): void {
    const compound = this.#srtp?.receiver.unprotectRtcp(packet);
    if (compound === undefined) {
      return;
    }
    this.#counters.bytesIn += packet.length;
    for (const part of parseRtcp(compound)) {
      this.#onRtcp(part);
    }
  }

  #onRtcp(packet: RtcpPacket): void {
    switch (packet.type) {
      case 'sr': {
        const stream = this.#demux.streamBySsrc(packet.ssrc);
        if (stream?.role.kind === 'media') {
          const ntpUs = stream.onSenderReport(packet, performance.now());
          this.#clock.onReport(ntpUs, nowNtpUs());
        }
        this.#onReceptionReports(packet.reports);
        break;
      }
      case 'rr':
        this.#onReceptionReports(packet.reports);
        break;
      case 'nack':
        this.#forwardersBySsrc.get(packet.mediaSsrc)?.onNack(packet.sequenceNumbers);
        break;
      case 'pli':
        this.#forwardersBySsrc.get(packet.mediaSsrc)?.onKeyframeRequest();
        break;
      case 'fir':
        for (const { ssrc } of packet.entries) {
          this.#forwardersBySsrc.get(ssrc)?.onKeyframeRequest();
        }
        break;
      case 'remb':
        this.#congestion.onRemb(packet.bitrateBps / 1000, performance.now());
        break;
      case 'sdes':
      case 'bye':
      case 'transport-cc':
        // Names are ours, streams end by signalling, and downlinks are asked for REMB.
        break;
    }
  }

  #onReceptionReports(reports: Extract<RtcpPacket, { type: 'rr' }>['reports']): void {
    for (const report of reports) {
      this.#forwardersBySsrc.get(report.ssrc)?.onReceptionReport(report);
    }
  }

  #tick(nowMs: number): void {
    for (const feedback of this.#arrivals.takeDue(nowMs, this.#ssrc, this.#mediaSsrc)) {
      this.#sendRtcp(feedback);
    }
    for (const stream of this.#demux.streams) {
      if (stream.nack !== undefined && stream.nack.missingCount > 0) {
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
    if (nowMs >= this.#nextRetargetMs) {
      this.#nextRetargetMs = nowMs + RETARGET_INTERVAL_MS;
      for (const forwarder of this.#forwarders) {
        forwarder.retarget();
      }
    }
    if (nowMs >= this.#nextReportMs) {
      this.#nextReportMs = nowMs + REPORT_INTERVAL_MS;
      this.#report(nowMs);
    }
  }

  #report(nowMs: number): void {
    const reports = [];
    for (const stream of this.#demux.streams) {
      stream.measureBitrate(nowMs);
      if (stream.role.kind === 'media') {
        this.#mediaSsrc = stream.ssrc;
      }
      const report = stream.takeReceptionReport(nowMs);
      if (report !== undefined) {
        reports.push(report);
      }
    }
    for (let start = 0; start < reports.length; start += MAX_REPORTS_PER_PACKET) {
      const some = reports.slice(start, start + MAX_REPORTS_PER_PACKET);
      this.#sendRtcp(Buffer.concat([buildReceiverReport(this.#ssrc, some), buildSdes(this.#ssrc, CNAME)]));
    }
    const ntpUs = nowNtpUs();
    for (const forwarder of this.#forwarders) {
      const report = forwarder.takeReport(ntpUs, nowMs);
      if (report !== undefined) {
        this.#sendRtcp(report);
      }
    }
    this.#controlCongestion(nowMs);
  }

  /** A receiver with too little bandwidth gets lower layers instead of a frozen picture. */
  #controlCongestion(nowMs: number): void {
    const sending = [...this.#forwarders].filter(({ isSending }) => isSending);
    const video = sending.filter(({ publication }) => publication.kind === 'video');
    const sentKbps = sending.reduce((sum, { sentKbps: kbps }) => sum + kbps, 0);
    const audioKbps = sentKbps - video.reduce((sum, { sentKbps: kbps }) => sum + kbps, 0);
    const tracks = video.map(({ publication, maxLayer }) => {
      const layersKbps: number[] = [];
      for (const { layer, bitrateKbps } of publication.layers()) {
        layersKbps[layer] = bitrateKbps;
      }
      return { layersKbps: Array.from(layersKbps, (kbps: number | undefined) => kbps ?? 0), maxLayer };
    });
    const wantedKbps = tracks.reduce((sum, { layersKbps, maxLayer }) => {
      const highest = Math.min(maxLayer, layersKbps.length - 1);
      return sum + Math.max(0, ...layersKbps.slice(0, highest + 1));
    }, audioKbps);
    const losses = video.map((forwarder) => forwarder.stats().fractionLost);
    const fractionLost =
      losses.length === 0 ? 0 : losses.reduce((sum, loss) => sum + loss, 0) / losses.length;
    const before = this.#congestion.limitKbps;
    const limitKbps = this.#congestion.evaluate({ nowMs, sentKbps, wantedKbps, fractionLost });
    if (limitKbps < before) {
      this.#options.logger.info({ limitKbps, sentKbps, fractionLost }, 'downlink congested');
    }
    const caps = allocateLayers(tracks, Math.max(0, limitKbps - audioKbps));
    video.forEach((forwarder, index) => {
      forwarder.setCapLayer(caps[index] ?? Number.POSITIVE_INFINITY);
    });
  }

  #sendRtcp(packet: Buffer): void {
    const sender = this.#srtp?.sender;
    if (sender === undefined) {
      return;
    }
    try {
      this.send(sender.protectRtcp(packet));
    } catch (error) {
      this.#options.logger.warn({ err: error }, 'RTCP not sent');
    }
  }

  #freeSsrc(): number {
    let ssrc = randomSsrc();
    while (ssrc === this.#ssrc || this.#forwardersBySsrc.has(ssrc)) {
      ssrc = randomSsrc();
    }
    return ssrc;
  }
}

function randomSsrc(): number {
  return randomInt(1, 0x1_0000_0000);
}
