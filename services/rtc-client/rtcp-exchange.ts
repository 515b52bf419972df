import { monotonicUs } from '../base/clock.ts';
import { buildReceiverReport, buildRemb } from '../media/rtp/rtcp-build.ts';
import { parseRtcp, type RtcpPacket } from '../media/rtp/rtcp.ts';
import { ReceiveEstimate, TransportFeedbackCollector } from './bandwidth-feedback.ts';
import type { RtpRouter } from './rtp-router.ts';
import type { SendStream } from './send-stream.ts';

/** What writes to a sending section: told about key frame requests, asked for the time of its sender reports. */
export type SendSide = {
  onKeyframeRequest: () => void;
  /** The point on the stream's line between RTP and NTP time that is now; undefined before the first frame. */
  reportPoint: () => { rtpTimestamp: number; ntpUs: number } | undefined;
};

export type SendEntry = { ssrc: number; side: SendSide; stream: SendStream | undefined };

export type RtcpExchangeOptions = {
  localSsrc: number;
  router: RtpRouter;
  sends: () => Iterable<SendEntry>;
  sendRtcp: (compound: Buffer) => void;
};

const REPORT_INTERVAL_MS = 1000;
/** How long a report that is due waits for a packet to go out with; longer than media that comes in bursts pauses. */
const REPORT_PATIENCE_MS = 250;
const FEEDBACK_INTERVAL_US = 50_000;
const MAX_REPORTS = 31;

/** All RTCP of the connection: reports in both directions, feedback to streams, bandwidth feedback to the server. */
export class RtcpExchange {
  readonly #options: RtcpExchangeOptions;
  readonly #feedback = new TransportFeedbackCollector();
  readonly #estimate = new ReceiveEstimate();
  #transportCcId = 0;
  #remb = false;
  #receivedBytes = 0;
  #reportTimer: NodeJS.Timeout | undefined;
  #nextReportUs = Number.POSITIVE_INFINITY;
  #nextFeedbackUs = 0;

  constructor(options: RtcpExchangeOptions) {
    this.#options = options;
  }

  /** Which bandwidth feedback the answer asks for. */
  configure(negotiated: { transportCcId: number; remb: boolean }): void {
    this.#transportCcId = negotiated.transportCcId;
    this.#remb = negotiated.remb;
  }

  start(): void {
    if (this.#reportTimer === undefined) {
      this.#nextReportUs = monotonicUs() + REPORT_INTERVAL_MS * 1000;
      this.#reportTimer = setInterval(() => this.#reportAll(), REPORT_INTERVAL_MS + REPORT_PATIENCE_MS);
    }
  }

  stop(): void {
    clearInterval(this.#reportTimer);
    this.#nextReportUs = Number.POSITIVE_INFINITY;
  }

  /** Reports and feedback go out with the packets where there are any: a timer would wake the process for each. */
  onRtp(packet: Buffer): void {
    this.#receivedBytes += packet.length;
    const nowUs = monotonicUs();
    if (nowUs >= this.#nextReportUs) {
      this.#reportTimer?.refresh();
      this.#reportAll();
    }
    if (this.#transportCcId !== 0) {
      this.#feedback.onPacket(packet, this.#transportCcId);
      if (nowUs >= this.#nextFeedbackUs) {
        this.#nextFeedbackUs = nowUs + FEEDBACK_INTERVAL_US;
        this.#sendTransportFeedback();
      }
    }
  }

  onCompound(compound: Buffer): void {
    const arrivalUs = monotonicUs();
    for (const packet of parseRtcp(compound)) {
      this.#onPacket(packet, arrivalUs);
    }
  }

  /**
   * Feedback goes behind an (empty) receiver report: RFC 3550 §6.1 wants compounds, and not every server takes
   * reduced-size RTCP.
   */
  sendFeedback(packet: Buffer): void {
    this.#options.sendRtcp(Buffer.concat([buildReceiverReport(this.#options.localSsrc, []), packet]));
  }

  sendSenderReportOf(ssrc: number): void {
    const entry = this.#entry(ssrc);
    if (entry !== undefined) {
      this.#sendSenderReport(entry);
    }
  }

  #sendSenderReport({ stream, side }: SendEntry): void {
    const point = side.reportPoint();
    if (stream !== undefined && point !== undefined) {
      this.#options.sendRtcp(stream.senderReport(point.rtpTimestamp, point.ntpUs));
    }
  }

  #onPacket(packet: RtcpPacket, arrivalUs: number): void {
    switch (packet.type) {
      case 'sr':
        this.#options.router.stream(packet.ssrc)?.onSenderReport(packet, arrivalUs);
        break;
      case 'nack':
        this.#entry(packet.mediaSsrc)?.stream?.onNack(packet.sequenceNumbers);
        break;
      case 'pli':
        this.#entry(packet.mediaSsrc)?.side.onKeyframeRequest();
        break;
      case 'fir':
        for (const { ssrc } of packet.entries) {
          this.#entry(ssrc)?.side.onKeyframeRequest();
        }
        break;
      default:
        break;
    }
  }

  #entry(ssrc: number): SendEntry | undefined {
    for (const entry of this.#options.sends()) {
      if (entry.ssrc === ssrc) {
        return entry;
      }
    }
    return undefined;
  }

  #reportAll(): void {
    const nowUs = monotonicUs();
    const elapsedMs = REPORT_INTERVAL_MS + (nowUs - this.#nextReportUs) / 1000;
    this.#nextReportUs = nowUs + REPORT_INTERVAL_MS * 1000;
    this.#sendTransportFeedback();
    const { localSsrc, router, sendRtcp } = this.#options;
    for (const entry of this.#options.sends()) {
      this.#sendSenderReport(entry);
    }
    const streams = router.streams();
    const reports = streams.flatMap((stream) => stream.receptionReports(nowUs));
    for (const stream of streams) {
      stream.tick(nowUs);
    }
    const worst = reports.reduce((highest, report) => Math.max(highest, report.fractionLost), 0);
    this.#estimate.onInterval(worst, (this.#receivedBytes * 8) / elapsedMs);
    this.#receivedBytes = 0;
    for (let start = 0; start < reports.length; start += MAX_REPORTS) {
      const parts = [buildReceiverReport(localSsrc, reports.slice(start, start + MAX_REPORTS))];
      if (this.#remb && start === 0) {
        const ssrcs = streams.map(({ ssrc }) => ssrc);
        parts.push(buildRemb(localSsrc, this.#estimate.bitrateBps, ssrcs));
      }
      sendRtcp(Buffer.concat(parts));
    }
  }

  #sendTransportFeedback(): void {
    const [media] = this.#options.router.streams();
    if (this.#transportCcId === 0 || media === undefined) {
      return;
    }
    for (const packet of this.#feedback.take(this.#options.localSsrc, media.ssrc)) {
      this.sendFeedback(packet);
    }
  }
}
