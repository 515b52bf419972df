import { ServiceError } from '../../base/errors.ts';
import { SafeEmitter } from '../../base/events.ts';
import type { Logger } from '../../base/logger.ts';
import { looksLikeRtcp, looksLikeRtpOrRtcp } from '../../media/rtp/rtp-header.ts';
import type { LocalMedia } from '../../media/rtp/local-media.ts';
import type { SrtpSession } from '../../media/rtp/srtp.ts';
import type { StunBinding } from '../../protocol/stun.ts';
import type { MediaTicker } from '../forwarding/media-ticker.ts';
import { RtpPeerMedia } from '../forwarding/peer-media.ts';
import type { DataChannel, PeerState, PeerTransport, PeerTransportEvents } from '../media-types.ts';
import type { DtlsCertificate } from './dtls-certificate.ts';
import { DtlsSession } from './dtls-session.ts';
import { IceLiteAgent, type RemoteAddress } from './ice-lite.ts';
import { SctpAssociation } from './sctp-association.ts';

/** Without an authenticated check for this long the peer is gone; browsers check at least every 5 s. */
const CONSENT_TIMEOUT_MS = 20_000;
/** From the remote description to the end of the DTLS handshake. */
const CONNECT_TIMEOUT_MS = 30_000;

/** What a peer needs from the mux. */
export type PeerPort = {
  /** Sends from the shared socket or the peer's own. */
  send: (datagram: Uint8Array) => void;
  /** Called when the agent has new credentials or dropped old ones. */
  credentialsChanged: () => void;
  /** The peer is sent to at this address from now on. */
  selectedChanged: (remote: RemoteAddress) => void;
  closed: () => void;
};

export type PeerConnectionOptions = {
  certificate: DtlsCertificate;
  candidates: readonly string[];
  port: PeerPort;
  ticker: MediaTicker;
  batchMs: number;
  /** The end is told by DTLS. */
  closeNotify: boolean;
  logger: Logger;
  /** Senders in this process may hand their RTP over here. */
  localMedia?: LocalMedia;
};

/** ICE-lite, DTLS, SRTP and SCTP of one client. */
export class PeerConnection implements PeerTransport {
  readonly events: SafeEmitter<PeerTransportEvents>;
  readonly candidates: readonly string[];
  readonly media: RtpPeerMedia;
  readonly ice = new IceLiteAgent(performance.now());
  readonly #options: PeerConnectionOptions;
  readonly #logger: Logger;
  #state: PeerState = 'new';
  #remote: { ufrag: string; fingerprint: string; role: 'passive' | 'active' } | undefined;
  #connectDeadlineMs = Number.POSITIVE_INFINITY;
  #dtls: DtlsSession | undefined;
  #sctp: SctpAssociation | undefined;
  #srtp: SrtpSession | undefined;
  #closeInlet: (() => void) | undefined;
  #failure: ServiceError | undefined;
  /** Authenticated packets at the last look. */
  #packetsSeen = 0;

  constructor(options: PeerConnectionOptions) {
    this.#options = options;
    this.#logger = options.logger;
    this.candidates = options.candidates;
    this.events = new SafeEmitter(options.logger);
    this.media = new RtpPeerMedia({
      send: options.port.send,
      ticker: options.ticker,
      batchMs: options.batchMs,
      logger: options.logger,
    });
  }

  get state(): PeerState {
    return this.#state;
  }

  get failure(): ServiceError | undefined {
    return this.#failure;
  }

  get localUfrag(): string {
    return this.ice.ufrag;
  }

  get localPwd(): string {
    return this.ice.password;
  }

  get localFingerprint(): string {
    return this.#options.certificate.fingerprint;
  }

  /**
   * Throws ServiceError `failed_precondition` when the connection is closed or a connected peer comes with another
   * certificate: new DTLS keys need a new transport.
   */
  setRemote(remote: { ufrag: string; fingerprint: string; role?: 'passive' | 'active' }): Promise<void> {
    const previous = this.#remote;
    const ended = this.#state === 'closed' || this.#state === 'failed';
    if (ended || (this.#srtp !== undefined && previous?.fingerprint !== remote.fingerprint)) {
      return Promise.reject(
        new ServiceError(
          'failed_precondition',
          ended
            ? `the transport is ${this.#state}: open a new session`
            : 'the DTLS fingerprint changed on a connected transport: open a new session',
        ),
      );
    }
    this.#remote = {
      ufrag: remote.ufrag,
      fingerprint: remote.fingerprint,
      role: remote.role ?? previous?.role ?? 'passive',
    };
    if (previous !== undefined && previous.ufrag !== remote.ufrag) {
      this.ice.restart();
      this.#options.port.credentialsChanged();
      this.#logger.info('ICE restart');
    }
    if (this.#state === 'new') {
      this.#connectDeadlineMs = performance.now() + CONNECT_TIMEOUT_MS;
      this.#setState('connecting');
      this.#maybeStartDtlsClient();
    }
    return Promise.resolve();
  }

  /** Before DTLS and SCTP stand the channel is queued and opens with them. Throws when the transport has ended. */
  openDataChannel(label: string, options: { ordered: boolean; maxRetransmits?: number }): DataChannel {
    if (this.#state === 'closed' || this.#state === 'failed') {
      throw new ServiceError('failed_precondition', `the transport is ${this.#state}`);
    }
    return this.#association().open(label, options);
  }

  close(cause: string): Promise<void> {
    if (this.#state !== 'closed') {
      this.#logger.debug({ cause }, 'transport closed');
      if (this.#options.closeNotify) {
        this.#dtls?.sendCloseNotify();
      }
      this.#release();
      this.#setState('closed');
      this.#options.port.closed();
      this.events.removeAll();
    }
    return Promise.resolve();
  }

  /** A binding request for one of our ufrags. Returns the response, undefined when it is not authentic. */
  handleBinding(datagram: Buffer, request: StunBinding, from: RemoteAddress): Buffer | undefined {
    if (this.#state === 'closed' || this.#state === 'failed') {
      return undefined;
    }
    const generations = this.ice.ufrags.length;
    const outcome = this.ice.handleRequest(datagram, request, from, performance.now());
    if (outcome === undefined) {
      return undefined;
    }
    if (this.ice.ufrags.length !== generations) {
      this.#options.port.credentialsChanged();
    }
    if (outcome.selected) {
      this.#options.port.selectedChanged(from);
      this.#maybeStartDtlsClient();
    }
    return outcome.response;
  }

  /** Anything but STUN from an address the peer has authenticated. */
  handleDatagram(datagram: Buffer): void {
    if (looksLikeRtpOrRtcp(datagram)) {
      if (this.#srtp !== undefined) {
        if (looksLikeRtcp(datagram)) {
          this.media.handleSrtcp(datagram);
        } else {
          this.media.handleSrtp(datagram);
        }
      }
      return;
    }
    const first = datagram[0] ?? 0;
    // RFC 7983: DTLS.
    if (first < 20 || first > 63 || this.#remote === undefined) {
      return;
    }
    if (this.#dtls === undefined && this.#remote.role === 'passive') {
      this.#dtls = this.#createDtls('server');
    }
    this.#dtls?.receive(datagram);
  }

  /** Called about once a second. */
  checkTimeouts(nowMs: number): void {
    this.#noteMedia(nowMs);
    if (this.#state === 'connected' && nowMs - this.ice.lastCheckMs > CONSENT_TIMEOUT_MS) {
      this.#fail(new ServiceError('unavailable', 'ICE: the client has gone silent'));
    } else if (this.#state === 'connecting' && nowMs > this.#connectDeadlineMs) {
      this.#fail(
        new ServiceError(
          'deadline_exceeded',
          this.ice.selected === undefined
            ? 'ICE: no connectivity check arrived; are the media ports (rtc.udp_port, rtc.tcp_port) reachable?'
            : 'DTLS: the handshake did not finish in time',
        ),
      );
    }
  }

  /** FFmpeg's WHIP muxer sends no checks once it is connected: authentic media says as well that it is there. */
  #noteMedia(nowMs: number): void {
    const { packetsIn } = this.media.stats();
    if (packetsIn !== this.#packetsSeen) {
      this.#packetsSeen = packetsIn;
      this.ice.heard(nowMs);
    }
  }

  #maybeStartDtlsClient(): void {
    if (this.#remote?.role === 'active' && this.ice.selected && this.#dtls === undefined) {
      this.#dtls = this.#createDtls('client');
      this.#dtls.connect();
    }
  }

  #createDtls(role: 'server' | 'client'): DtlsSession {
    return new DtlsSession({
      role,
      certificate: this.#options.certificate,
      remoteFingerprint: () => this.#remote?.fingerprint ?? '',
      send: this.#options.port.send,
      onConnected: (srtp) => this.#onDtlsConnected(srtp),
      onData: (data) => this.#association().receive(data),
      onFailed: (error) => this.#fail(error),
      logger: this.#logger,
    });
  }

  #onDtlsConnected(srtp: SrtpSession | undefined): void {
    this.#srtp = srtp;
    if (srtp !== undefined) {
      this.media.start(srtp);
      this.#closeInlet = this.#options.localMedia?.open(
        { ufrag: this.localUfrag, pwd: this.localPwd },
        (packet, headerLength) => this.media.handleLocalRtp(packet, headerLength),
      );
    }
    this.#association().start();
    this.#logger.info({ srtpProfile: srtp?.profile ?? 'none' }, 'transport connected');
    this.#setState('connected');
  }

  #association(): SctpAssociation {
    this.#sctp ??= new SctpAssociation({
      dtlsRole: this.#remote?.role === 'active' ? 'client' : 'server',
      send: (data) => this.#dtls?.send(data),
      onChannel: (channel) => this.events.emit('dataChannel', channel),
      logger: this.#logger,
    });
    return this.#sctp;
  }

  #fail(error: ServiceError): void {
    if (this.#state === 'closed' || this.#state === 'failed') {
      return;
    }
    this.#logger.info({ err: error }, 'transport failed');
    this.#failure = error;
    this.#release();
    this.#setState('failed');
  }

  #release(): void {
    this.#closeInlet?.();
    this.media.stop();
    this.#sctp?.stop();
    this.#dtls?.close();
  }

  #setState(state: PeerState): void {
    if (this.#state !== state) {
      this.#state = state;
      this.events.emit('state', state);
    }
  }
}
