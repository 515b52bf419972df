import { randomBytes } from 'node:crypto';
import type { SessionDescription as WireDescription } from '@livekit/protocol';
import { monotonicUs } from '../base/clock.ts';
import { ServiceError } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import { buildReceiverReport, buildRemb } from '../media/rtp/rtcp-build.ts';
import { parseRtcp, type RtcpPacket } from '../media/rtp/rtcp.ts';
import { PublisherClock } from '../media/timing/publisher-clock.ts';
import { EXTENSION_URI, parseSdp, type SdpCodec, type SessionDescription } from '../protocol/sdp.ts';
import { TransportFeedbackCollector, ReceiveEstimate } from './bandwidth-feedback.ts';
import type { LocalCertificate } from './dtls-session.ts';
import type { IceServer } from './ice-agent.ts';
import { MediaSections, sendAgreement, type SendAgreement } from './media-sections.ts';
import { MediaTransport } from './media-transport.ts';
import { Negotiator } from './negotiator.ts';
import { Pacer } from './pacer.ts';
import { ReceiveStream, type ReceiveStreamOptions } from './receive-stream.ts';
import { RtpRouter } from './rtp-router.ts';
import { SendStream } from './send-stream.ts';

export type MediaPeerOptions = {
  logger: Logger;
  certificate: LocalCertificate;
  loopback: boolean;
  receiveSections: { audio: number; video: number };
  sendOffer: (offer: WireDescription) => void;
  sendCandidate: (candidate: string) => void;
  onData: (label: string, data: Uint8Array) => void;
  /** The tracks that have a receiving section changed. */
  onReceiveSections: () => void;
  onFailed: (cause: string) => void;
};

/** What writes to a sending section: told about key frame requests, asked for the time of its sender reports. */
export type SendSide = {
  onKeyframeRequest: () => void;
  /** The point on the stream's line between RTP and NTP time that is now; undefined before the first frame. */
  reportPoint: () => { rtpTimestamp: number; ntpUs: number } | undefined;
};

type SendEntry = {
  kind: 'audio' | 'video';
  source: SendSource;
  side: SendSide;
  stream: SendStream | undefined;
};
type SendSource = { streamId: string; trackId: string; ssrc: number; rtxSsrc: number; cname: string };

/** A section on which the server sends a track. */
export type ReceiveSection = {
  mid: string;
  trackSid: string;
  /** Usually one: the publisher's. */
  codecs: readonly SdpCodec[];
  ssrc: number;
  rtxSsrc: number;
  transportCcId: number;
};

export type PeerDescriptions = {
  offer: WireDescription | undefined;
  answer: WireDescription | undefined;
};

export type ReceiveConsumer = Pick<
  ReceiveStreamOptions,
  'codec' | 'onFrame' | 'onLost' | 'kind' | 'serverFrameTrailer'
> & {
  /** Tracks with the same key share a clock: one publisher. */
  clockKey: string;
};

const REPORT_INTERVAL_MS = 1000;
const FEEDBACK_INTERVAL_MS = 50;

function randomSsrc(): number {
  return randomBytes(4).readUInt32BE(0) || 1;
}

/** The client's one peer connection: negotiation, RTP and RTCP in both directions. */
export class MediaPeer {
  readonly #options: MediaPeerOptions;
  readonly #transport: MediaTransport;
  readonly #sections: MediaSections;
  readonly #negotiator: Negotiator;
  readonly #pacer = new Pacer();
  readonly #router = new RtpRouter();
  readonly #feedback = new TransportFeedbackCollector();
  readonly #estimate = new ReceiveEstimate();
  readonly #localSsrc = randomSsrc();
  readonly #cname = randomBytes(12).toString('base64url');
  readonly #sends = new Map<string, SendEntry>();
  readonly #agreements = new Map<string, SendAgreement>();
  readonly #clocks = new Map<string, PublisherClock>();
  #receiving = new Map<string, ReceiveSection>();
  #transportSequence = 0;
  #transportCcId = 0;
  #remb = false;
  #lastAnswer: WireDescription | undefined;
  #receivedBytes = 0;
  #reportTimer: NodeJS.Timeout | undefined;
  #feedbackTimer: NodeJS.Timeout | undefined;
  #closed = false;
  readonly #connected: Promise<void>;
  #resolveConnected: () => void = () => undefined;
  #rejectConnected: (error: Error) => void = () => undefined;

  constructor(options: MediaPeerOptions) {
    this.#options = options;
    this.#transport = new MediaTransport({
      logger: options.logger,
      certificate: options.certificate,
      loopback: options.loopback,
      onRtp: (packet, payload) => this.#onRtp(packet, payload),
      onRtcp: (compound) => this.#onRtcp(compound),
      onData: options.onData,
      onLocalCandidate: options.sendCandidate,
      onFailed: options.onFailed,
    });
    this.#sections = new MediaSections(options.receiveSections);
    this.#negotiator = new Negotiator({
      createOffer: () =>
        this.#sections.offer({
          iceUfrag: this.#transport.ufrag,
          icePwd: this.#transport.pwd,
          fingerprint: this.#transport.fingerprint,
        }),
      send: options.sendOffer,
    });
    this.#connected = new Promise((resolve, reject) => {
      this.#resolveConnected = resolve;
      this.#rejectConnected = reject;
    });
    this.#connected.catch(() => undefined);
  }

  get isConnected(): boolean {
    return this.#transport.isConnected;
  }

  initialOffer(): WireDescription {
    return this.#negotiator.initialOffer();
  }

  /** Begins gathering; call when the servers are known and candidates can be sent. */
  async gather(servers: readonly IceServer[], relayOnly: boolean): Promise<void> {
    this.#transport.setServers(servers, relayOnly);
    await this.#transport.gather();
  }

  /** Resolves when media can flow; rejects when the first attempt to get there failed. */
  connected(): Promise<void> {
    return this.#connected;
  }

  addRemoteCandidate(candidate: string): Promise<void> {
    return this.#transport.addRemoteCandidate(candidate);
  }

  /** Resolves once an offer that contains everything so far was answered. */
  negotiate(): Promise<void> {
    return this.#negotiator.negotiate();
  }

  addReceiveSections(count: { audio: number; video: number }): void {
    this.#sections.addReceive(count);
    this.#negotiator.negotiate().catch(() => undefined);
  }

  /** New ICE credentials and a new offer; resolves when media flows again. */
  async restartIce(): Promise<void> {
    await this.#transport.restartIce();
    await this.#negotiator.renegotiate();
    await this.#applying;
  }

  #applying: Promise<void> = Promise.resolve();

  /** The last offer and answer, for syncState after a resume. */
  get descriptions(): PeerDescriptions {
    return { offer: this.#negotiator.lastOffer, answer: this.#lastAnswer };
  }

  /** Applies the server's answer. @throws ServiceError invalid_argument for SDP that cannot be read. */
  applyAnswer(answer: WireDescription): void {
    if (this.#closed || !this.#negotiator.accepts(answer.id)) {
      return;
    }
    const description = parseSdp(answer.sdp);
    this.#lastAnswer = answer;
    this.#applySendSections(description);
    this.#applyReceiveSections(description, answer.midToTrackId);
    this.#applying = this.#transport
      .apply({
        ufrag: description.iceUfrag,
        pwd: description.icePwd,
        lite: description.iceLite,
        fingerprint: description.fingerprint,
        setup: description.setup,
        candidates: description.candidates,
      })
      .then(() => {
        if (this.#transport.isConnected) {
          this.#startTimers();
          this.#resolveConnected();
        }
      });
    this.#applying.catch((error: unknown) => {
      const failure = ServiceError.from(error, 'unavailable');
      this.#rejectConnected(failure);
      this.#options.onFailed(failure.message);
    });
    this.#negotiator.settle();
    this.#options.onReceiveSections();
  }

  /** A new sending section; its stream exists after the next negotiation. */
  addSend(options: {
    kind: 'audio' | 'video';
    codecs: readonly SdpCodec[];
    trackId: string;
    side: SendSide;
  }): string {
    const hasRtx = options.codecs.some((codec) => codec.rtxPayloadType !== 0);
    const source: SendSource = {
      streamId: this.#cname,
      trackId: options.trackId,
      ssrc: randomSsrc(),
      rtxSsrc: hasRtx ? randomSsrc() : 0,
      cname: this.#cname,
    };
    const mid = this.#sections.addSend({ kind: options.kind, codecs: options.codecs, source });
    this.#sends.set(mid, { kind: options.kind, source, side: options.side, stream: undefined });
    return mid;
  }

  sendStream(mid: string): SendStream | undefined {
    return this.#sends.get(mid)?.stream;
  }

  stopSend(mid: string): void {
    this.#sections.stopSend(mid);
    this.#sends.delete(mid);
    this.#agreements.delete(mid);
  }

  /** A sender report right away: receivers can line the tracks up from the first second on. */
  report(mid: string): void {
    const entry = this.#sends.get(mid);
    const point = entry?.side.reportPoint();
    if (entry?.stream !== undefined && point !== undefined) {
      this.#transport.sendRtcp(entry.stream.senderReport(point.rtpTimestamp, point.ntpUs));
    }
  }

  receiveSections(): readonly ReceiveSection[] {
    return [...this.#receiving.values()];
  }

  /** Starts delivering a track that has a section, in one of the section's codecs. */
  receive(section: ReceiveSection, sdpCodec: SdpCodec, consumer: ReceiveConsumer): ReceiveStream {
    let clock = this.#clocks.get(consumer.clockKey);
    if (clock === undefined) {
      clock = new PublisherClock();
      this.#clocks.set(consumer.clockKey, clock);
    }
    const stream = new ReceiveStream({
      ...consumer,
      ssrc: section.ssrc,
      clockRateHz: sdpCodec.clockRateHz,
      nack: sdpCodec.feedback.includes('nack'),
      localSsrc: this.#localSsrc,
      clock,
      logger: this.#options.logger,
      roundTripMs: () => this.#transport.roundTripMs,
      sendRtcp: (packet) => this.#sendFeedback(packet),
    });
    const { payloadType, rtxPayloadType } = sdpCodec;
    this.#router.add(
      { mid: section.mid, payloadType, rtxPayloadType, stream },
      section.ssrc,
      section.rtxSsrc,
    );
    return stream;
  }

  stopReceiving(mid: string): void {
    this.#router.remove(mid);
  }

  async close(cause: string): Promise<void> {
    if (this.#closed) {
      return;
    }
    this.#closed = true;
    clearInterval(this.#reportTimer);
    clearInterval(this.#feedbackTimer);
    this.#pacer.close();
    this.#negotiator.close(cause);
    this.#rejectConnected(new ServiceError('aborted', `the connection ended: ${cause}`));
    for (const stream of this.#router.streams()) {
      stream.close();
    }
    await this.#transport.close();
  }

  #applySendSections(answer: SessionDescription): void {
    for (const [mid, entry] of this.#sends) {
      const agreement = sendAgreement(answer.media.find((section) => section.mid === mid));
      if (agreement === undefined || entry.stream !== undefined) {
        continue;
      }
      entry.stream = new SendStream({
        kind: entry.kind,
        ssrc: entry.source.ssrc,
        rtxSsrc: agreement.rtxPayloadType === 0 ? 0 : entry.source.rtxSsrc,
        payloadType: agreement.payloadType,
        rtxPayloadType: agreement.rtxPayloadType,
        mid,
        cname: entry.source.cname,
        extensions: agreement.extensions,
        nextTransportSequence: () => {
          this.#transportSequence = (this.#transportSequence + 1) & 0xffff;
          return this.#transportSequence;
        },
        sendRtp: (packet, headerLength, rollover) => this.#transport.sendRtp(packet, headerLength, rollover),
        pacer: this.#pacer,
      });
    }
  }

  #applyReceiveSections(answer: SessionDescription, midToTrackId: Record<string, string>): void {
    const next = new Map<string, ReceiveSection>();
    for (const section of answer.media) {
      const codec = section.codecs[0];
      const sends = section.direction === 'sendonly' || section.direction === 'sendrecv';
      const trackSid = midToTrackId[section.mid] ?? section.trackId;
      if (
        section.rejected ||
        !sends ||
        codec === undefined ||
        trackSid === '' ||
        section.kind === 'application'
      ) {
        continue;
      }
      const [source] = section.sources;
      const transportCc = codec.feedback.includes('transport-cc');
      next.set(section.mid, {
        mid: section.mid,
        trackSid,
        codecs: section.codecs,
        ssrc: source?.ssrc ?? 0,
        rtxSsrc: source?.rtxSsrc ?? 0,
        transportCcId: transportCc ? (section.extensions.get(EXTENSION_URI.transportCc) ?? 0) : 0,
      });
      this.#remb ||= codec.feedback.includes('goog-remb');
    }
    this.#receiving = next;
    this.#transportCcId =
      [...next.values()].find(({ transportCcId }) => transportCcId !== 0)?.transportCcId ?? 0;
  }

  #onRtp(packet: Buffer, payload: Buffer): void {
    this.#receivedBytes += packet.length;
    if (this.#transportCcId !== 0) {
      this.#feedback.onPacket(packet, this.#transportCcId);
    }
    this.#router.route(packet, payload);
  }

  #onRtcp(compound: Buffer): void {
    const arrivalUs = monotonicUs();
    for (const packet of parseRtcp(compound)) {
      this.#onRtcpPacket(packet, arrivalUs);
    }
  }

  #onRtcpPacket(packet: RtcpPacket, arrivalUs: number): void {
    switch (packet.type) {
      case 'sr':
        this.#router.stream(packet.ssrc)?.onSenderReport(packet, arrivalUs);
        break;
      case 'nack':
        this.#sendEntry(packet.mediaSsrc)?.stream?.onNack(packet.sequenceNumbers);
        break;
      case 'pli':
        this.#sendEntry(packet.mediaSsrc)?.side.onKeyframeRequest();
        break;
      case 'fir':
        for (const { ssrc } of packet.entries) {
          this.#sendEntry(ssrc)?.side.onKeyframeRequest();
        }
        break;
      default:
        break;
    }
  }

  #sendEntry(ssrc: number): SendEntry | undefined {
    for (const entry of this.#sends.values()) {
      if (entry.source.ssrc === ssrc) {
        return entry;
      }
    }
    return undefined;
  }

  /** Feedback goes behind an (empty) receiver report: RFC 3550 §6.1 wants compounds, reduced-size is not negotiated. */
  #sendFeedback(packet: Buffer): void {
    this.#transport.sendRtcp(Buffer.concat([buildReceiverReport(this.#localSsrc, []), packet]));
  }

  #startTimers(): void {
    this.#reportTimer ??= setInterval(() => this.#reportAll(), REPORT_INTERVAL_MS);
    this.#feedbackTimer ??= setInterval(() => this.#sendTransportFeedback(), FEEDBACK_INTERVAL_MS);
  }

  #reportAll(): void {
    for (const mid of this.#sends.keys()) {
      this.report(mid);
    }
    const nowUs = monotonicUs();
    const streams = this.#router.streams();
    const reports = streams.flatMap((stream) => stream.receptionReports(nowUs));
    for (const stream of streams) {
      stream.tick(nowUs);
    }
    const worst = reports.reduce((highest, report) => Math.max(highest, report.fractionLost), 0);
    this.#estimate.onInterval(worst, (this.#receivedBytes * 8) / REPORT_INTERVAL_MS);
    this.#receivedBytes = 0;
    for (let start = 0; start < reports.length; start += 31) {
      const part = reports.slice(start, start + 31);
      const remb =
        this.#remb && start === 0
          ? [
              buildRemb(
                this.#localSsrc,
                this.#estimate.bitrateBps,
                streams.map(({ ssrc }) => ssrc),
              ),
            ]
          : [];
      this.#transport.sendRtcp(Buffer.concat([buildReceiverReport(this.#localSsrc, part), ...remb]));
    }
  }

  #sendTransportFeedback(): void {
    const media = this.#router.streams()[0];
    if (this.#transportCcId === 0 || media === undefined) {
      return;
    }
    for (const packet of this.#feedback.take(this.#localSsrc, media.ssrc)) {
      this.#sendFeedback(packet);
    }
  }
}
