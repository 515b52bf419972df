import { randomBytes } from 'node:crypto';
import type { SessionDescription as WireDescription } from '@livekit/protocol';
import { ServiceError } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import { PublisherClock } from '../media/timing/publisher-clock.ts';
import { parseSdp, type SdpCodec, type SessionDescription } from '../protocol/sdp.ts';
import type { LocalCertificate } from './dtls-session.ts';
import type { IceServer } from './ice-agent.ts';
import { MediaSections, receiveSections, wantsRemb, type ReceiveSection } from './media-sections.ts';
import { MediaTransport } from './media-transport.ts';
import { Negotiator } from './negotiator.ts';
import { Pacer } from './pacer.ts';
import type { LocalMedia } from '../media/rtp/local-media.ts';
import { ReceiveStream, type ReceiveStreamOptions } from './receive-stream.ts';
import { RtcpExchange } from './rtcp-exchange.ts';
import { RtpRouter } from './rtp-router.ts';
import { randomSsrc, SendSections, type AddSendOptions } from './send-sections.ts';
import type { SendStream } from './send-stream.ts';

export type MediaPeerOptions = {
  logger: Logger;
  certificate: LocalCertificate;
  loopback: boolean;
  localMedia?: LocalMedia;
  mediaBatchMs: number;
  receivesEveryCodec: boolean;
  receiveSections: { audio: number; video: number };
  sendOffer: (offer: WireDescription) => void;
  sendCandidate: (candidate: string) => void;
  onData: (label: string, data: Uint8Array) => void;
  /** The tracks that have a receiving section changed. */
  onReceiveSections: () => void;
  onFailed: (cause: string) => void;
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

/** The client's one peer connection: negotiation, and RTP streams in both directions. */
export class MediaPeer {
  readonly #options: MediaPeerOptions;
  readonly #transport: MediaTransport;
  readonly #sections: MediaSections;
  readonly #negotiator: Negotiator;
  readonly #rtcp: RtcpExchange;
  readonly #pacer = new Pacer();
  readonly #router = new RtpRouter();
  readonly #localSsrc = randomSsrc();
  readonly #cname = randomBytes(12).toString('base64url');
  readonly #sends: SendSections;
  readonly #clocks = new Map<string, PublisherClock>();
  readonly #connected: Promise<void>;
  #resolveConnected: () => void = () => undefined;
  #rejectConnected: (error: Error) => void = () => undefined;
  #receiving: readonly ReceiveSection[] = [];
  #lastAnswer: WireDescription | undefined;
  #applying: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(options: MediaPeerOptions) {
    this.#options = options;
    this.#transport = new MediaTransport({
      logger: options.logger,
      certificate: options.certificate,
      loopback: options.loopback,
      ...(options.localMedia === undefined ? {} : { localMedia: options.localMedia }),
      onRtp: (packet, payload) => {
        this.#rtcp.onRtp(packet);
        this.#router.route(packet, payload);
      },
      onRtcp: (compound) => this.#rtcp.onCompound(compound),
      onData: options.onData,
      onLocalCandidate: options.sendCandidate,
      onFailed: options.onFailed,
    });
    this.#rtcp = new RtcpExchange({
      localSsrc: this.#localSsrc,
      router: this.#router,
      sends: () => this.#sends.entries(),
      sendRtcp: (compound) => this.#transport.sendRtcp(compound),
    });
    this.#sections = new MediaSections(options.receiveSections, options);
    this.#sends = new SendSections({
      sections: this.#sections,
      cname: this.#cname,
      pacer: this.#pacer,
      sendRtp: (packet, headerLength, rollover) => this.#transport.sendRtp(packet, headerLength, rollover),
    });
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

  /** The last offer and answer, for syncState after a resume. */
  get descriptions(): PeerDescriptions {
    return { offer: this.#negotiator.lastOffer, answer: this.#lastAnswer };
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

  /** Applies the server's answer. @throws ServiceError invalid_argument for SDP that cannot be read. */
  applyAnswer(answer: WireDescription): void {
    if (this.#closed || !this.#negotiator.accepts(answer.id)) {
      return;
    }
    const description = parseSdp(answer.sdp);
    this.#lastAnswer = answer;
    this.#sends.apply(description);
    this.#receiving = receiveSections(description, answer.midToTrackId);
    this.#rtcp.configure({
      transportCcId: this.#receiving.find((section) => section.transportCcId !== 0)?.transportCcId ?? 0,
      remb: this.#receiving.some(wantsRemb),
    });
    this.#applying = this.#applyTransport(description);
    this.#applying.catch((error: unknown) => {
      const failure = ServiceError.from(error, 'unavailable');
      this.#rejectConnected(failure);
      this.#options.onFailed(failure.message);
    });
    this.#negotiator.settle();
    this.#options.onReceiveSections();
  }

  /** A new sending section, as SendSections.add(); its streams exist after the next negotiation. */
  addSend(options: AddSendOptions): string {
    return this.#sends.add(options);
  }

  /** By restriction id; empty until the server has accepted the section. */
  sendStreams(mid: string): ReadonlyMap<string, SendStream> {
    return this.#sends.streams(mid);
  }

  stopSend(mid: string): void {
    this.#sends.stop(mid);
  }

  /** A sender report right away: receivers can line the tracks up from the first second on. */
  report(ssrc: number): void {
    this.#rtcp.sendSenderReportOf(ssrc);
  }

  receiveSections(): readonly ReceiveSection[] {
    return this.#receiving;
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
      mediaBatchMs: this.#options.mediaBatchMs,
      localSsrc: this.#localSsrc,
      clock,
      roundTripMs: () => this.#transport.roundTripMs,
      sendRtcp: (packet) => this.#rtcp.sendFeedback(packet),
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
    this.#rtcp.stop();
    this.#pacer.close();
    this.#negotiator.close(cause);
    this.#rejectConnected(new ServiceError('aborted', `the connection ended: ${cause}`));
    for (const stream of this.#router.streams()) {
      stream.close();
    }
    await this.#transport.close();
  }

  async #applyTransport(description: SessionDescription): Promise<void> {
    await this.#transport.apply({
      ufrag: description.iceUfrag,
      pwd: description.icePwd,
      lite: description.iceLite,
      fingerprint: description.fingerprint,
      setup: description.setup,
      candidates: description.candidates,
    });
    if (this.#transport.isConnected && !this.#closed) {
      this.#rtcp.start();
      this.#resolveConnected();
    }
  }
}
