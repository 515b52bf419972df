import { randomInt } from 'node:crypto';
import type { Logger } from '../../base/logger.ts';
import { nowNtpUs } from '../../media/rtp/ntp.ts';
import type { RtcpPacket } from '../../media/rtp/rtcp.ts';
import type { Forwarder } from '../media-types.ts';
import { DownlinkAllocation } from './downlink-allocation.ts';
import type { ForwarderOutlet } from './forwarder-outlet.ts';
import { TrackForwarder } from './track-forwarder.ts';
import type { TrackPublication } from './track-publication.ts';

/** Browsers relate a stream to its publisher's clock by two reports: until then they cannot bring tracks together. */
const SECOND_REPORT_MS = 300;

/** Everything one receiver is sent: its subscriptions, what it says about them, and how they share its bandwidth. */
export class ForwarderSet {
  readonly #bySsrc = new Map<number, TrackForwarder>();
  /** The same ones. */
  #list: readonly TrackForwarder[] = [];
  readonly #downlink: DownlinkAllocation;
  #reportAgainMs = Number.POSITIVE_INFINITY;

  constructor(logger: Logger) {
    this.#downlink = new DownlinkAllocation(logger);
  }

  get rembKbps(): number {
    return this.#downlink.rembKbps;
  }

  /** @param ownSsrc the one its reports come from, which no stream may have. */
  create(publication: TrackPublication, outlet: ForwarderOutlet, ownSsrc: number): TrackForwarder {
    const ssrc = this.#freeSsrc(ownSsrc);
    const rtxSsrc = this.#freeSsrc(ownSsrc);
    const forwarder = new TrackForwarder({ publication, outlet, ssrc, rtxSsrc });
    this.#bySsrc.set(ssrc, forwarder);
    this.#list = [...this.#bySsrc.values()];
    return forwarder;
  }

  remove({ ssrc }: Forwarder): void {
    this.#bySsrc.delete(ssrc);
    this.#list = [...this.#bySsrc.values()];
  }

  clear(): void {
    for (const forwarder of this.#list) {
      forwarder.unbind();
    }
    this.#bySsrc.clear();
    this.#list = [];
  }

  retarget(): void {
    for (const forwarder of this.#list) {
      forwarder.retarget();
    }
  }

  /** Called every tick. True while old pictures are still to be sent. */
  replay(nowMs: number): boolean {
    let isReplaying = false;
    for (const forwarder of this.#list) {
      isReplaying = forwarder.replay(nowMs) || isReplaying;
    }
    return isReplaying;
  }

  onRtcp(packet: RtcpPacket): void {
    switch (packet.type) {
      case 'sr':
      case 'rr':
        for (const report of packet.reports) {
          this.#bySsrc.get(report.ssrc)?.onReceptionReport(report);
        }
        break;
      case 'nack':
        this.#bySsrc.get(packet.mediaSsrc)?.onNack(packet.sequenceNumbers);
        break;
      case 'pli':
        this.#bySsrc.get(packet.mediaSsrc)?.onKeyframeRequest();
        break;
      case 'fir':
        for (const { ssrc } of packet.entries) {
          this.#bySsrc.get(ssrc)?.onKeyframeRequest();
        }
        break;
      case 'remb':
        this.#downlink.onRemb(packet.bitrateBps / 1000, performance.now());
        break;
      case 'sdes':
      case 'bye':
      case 'transport-cc':
        // Names are ours, streams end by signalling, and downlinks are asked for REMB.
        break;
    }
  }

  /** True while a stream has begun that lacks its early reports so far. */
  get owesReport(): boolean {
    return this.#reportAgainMs < Number.POSITIVE_INFINITY || this.#list.some(({ owesReport }) => owesReport);
  }

  /** Called every tick: the reports of streams that have just begun, and a second one of all a moment later. */
  takeOwedReports(nowMs: number): Buffer[] {
    if (nowMs >= this.#reportAgainMs) {
      this.#reportAgainMs = Number.POSITIVE_INFINITY;
      return takeReports(this.#list, nowMs);
    }
    const begun = this.#list.filter(({ owesReport }) => owesReport);
    const reports = takeReports(begun, nowMs);
    if (reports.length > 0) {
      this.#reportAgainMs = nowMs + SECOND_REPORT_MS;
    }
    return reports;
  }

  /** Called about once a second: the reports to send now. Then shares the bandwidth anew. */
  report(nowMs: number): Buffer[] {
    for (const forwarder of this.#list) {
      forwarder.measure();
    }
    const reports = takeReports(this.#list, nowMs);
    this.#downlink.allocate(this.#list, nowMs);
    return reports;
  }

  #freeSsrc(ownSsrc: number): number {
    let ssrc = randomSsrc();
    while (ssrc === ownSsrc || this.#bySsrc.has(ssrc)) {
      ssrc = randomSsrc();
    }
    return ssrc;
  }
}

function takeReports(forwarders: readonly TrackForwarder[], nowMs: number): Buffer[] {
  const ntpUs = nowNtpUs();
  return forwarders.flatMap((forwarder) => forwarder.takeReport(ntpUs, nowMs) ?? []);
}

export function randomSsrc(): number {
  return randomInt(1, 0x1_0000_0000);
}
