import { ServiceError } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import type { LocalInlet, LocalMedia } from '../media/rtp/local-media.ts';
import { looksLikeRtcp, rtpHeaderLength } from '../media/rtp/rtp-header.ts';
import type { SrtpSession } from '../media/rtp/srtp.ts';
import { DataChannels } from './data-channels.ts';
import { DtlsSession, type LocalCertificate } from './dtls-session.ts';
import { IceAgent, type IceServer, type RemoteIceParameters } from './ice-agent.ts';

export type MediaTransportOptions = {
  logger: Logger;
  certificate: LocalCertificate;
  /** The server is on this machine: offer the loopback address too. */
  loopback: boolean;
  localMedia?: LocalMedia;
  /** Decrypted; `payload` has memory of its own and still carries RTP padding. */
  onRtp: (packet: Buffer, payload: Buffer) => void;
  onRtcp: (compound: Buffer) => void;
  onData: (label: string, data: Uint8Array) => void;
  onLocalCandidate: (candidate: string) => void;
  /** After connecting: the path is gone for good. */
  onFailed: (cause: string) => void;
};

export type RemoteTransportParameters = RemoteIceParameters & {
  fingerprint: string;
  /** The server's role in its answer. */
  setup: 'active' | 'passive' | 'actpass';
};

/** Datagrams in flight inside libuv when the socket is busy keep their memory until sent; this many is plenty. */
const OUTPUT_SLOTS = 512;
const OUTPUT_SLOT_BYTES = 1600;

/** ICE + DTLS + SRTP + SCTP of the client's one peer connection. */
export class MediaTransport {
  readonly #options: MediaTransportOptions;
  readonly #ice: IceAgent;
  readonly #output = Buffer.allocUnsafeSlow(OUTPUT_SLOTS * OUTPUT_SLOT_BYTES);
  #outputIndex = 0;
  #dtls: DtlsSession | undefined;
  #srtp: SrtpSession | undefined;
  #inlet: LocalInlet | undefined;
  #channels: DataChannels | undefined;
  #remoteUfrag = '';
  #state: 'new' | 'connecting' | 'connected' | 'closed' = 'new';

  constructor(options: MediaTransportOptions) {
    this.#options = options;
    this.#ice = new IceAgent({ logger: options.logger, loopback: options.loopback });
    this.#ice.onDatagram = (datagram) => this.#receive(datagram);
    this.#ice.onCandidate = options.onLocalCandidate;
    this.#ice.onFailed = () => options.onFailed('ICE lost its path to the server');
  }

  get ufrag(): string {
    return this.#ice.ufrag;
  }

  get pwd(): string {
    return this.#ice.pwd;
  }

  get fingerprint(): string {
    return this.#options.certificate.fingerprint;
  }

  get isConnected(): boolean {
    return this.#state === 'connected';
  }

  get roundTripMs(): number {
    return this.#ice.roundTripMs;
  }

  setServers(servers: readonly IceServer[], relayOnly: boolean): void {
    this.#ice.setServers(servers, relayOnly);
  }

  gather(): Promise<void> {
    return this.#ice.gather();
  }

  addRemoteCandidate(candidate: string): Promise<void> {
    return this.#ice.addRemoteCandidate(candidate);
  }

  /** The next offer then carries new ICE credentials. */
  restartIce(): Promise<void> {
    return this.#ice.restart();
  }

  /**
   * Applies the transport part of an answer: connects the first time, finds a new path when the server's credentials
   * changed (ICE restart), does nothing otherwise. @throws ServiceError unavailable | permission_denied.
   */
  async apply(remote: RemoteTransportParameters): Promise<void> {
    if (this.#state === 'closed' || remote.ufrag === this.#remoteUfrag) {
      return;
    }
    this.#remoteUfrag = remote.ufrag;
    const isRestart = this.#state === 'connected';
    if (!isRestart) {
      this.#state = 'connecting';
      this.#dtls = this.#createDtls(remote);
    }
    try {
      await this.#ice.connect(remote);
    } catch (error) {
      throw new ServiceError('unavailable', 'no network path to the media server: every ICE check failed', {
        cause: error,
      });
    }
    if (isRestart || this.#dtls === undefined) {
      return;
    }
    this.#srtp = await this.#dtls.handshake();
    this.#inlet = this.#options.localMedia?.find(remote);
    this.#state = 'connected';
    this.#channels?.start();
  }

  /**
   * Encrypts and sends one RTP packet given as plain bytes. Nothing happens before the transport is connected.
   * `rollover` counts the wraps of the sequence number of this SSRC.
   */
  sendRtp(packet: Buffer, headerLength: number, rollover: number): void {
    if (this.#srtp === undefined) {
      return;
    }
    if (this.#inlet !== undefined) {
      this.#inlet(packet, headerLength);
      return;
    }
    const start = this.#outputIndex * OUTPUT_SLOT_BYTES;
    this.#outputIndex = (this.#outputIndex + 1) % OUTPUT_SLOTS;
    const out = this.#output.subarray(start, start + OUTPUT_SLOT_BYTES);
    packet.copy(out, 0, 0, headerLength);
    const length = this.#srtp.sender.sealRtp(out, headerLength, packet.subarray(headerLength), rollover);
    this.#ice.send(out.subarray(0, length));
  }

  sendRtcp(compound: Buffer): void {
    if (this.#srtp !== undefined) {
      this.#ice.send(this.#srtp.sender.protectRtcp(compound));
    }
  }

  async close(): Promise<void> {
    if (this.#state === 'closed') {
      return;
    }
    this.#state = 'closed';
    this.#srtp = undefined;
    this.#inlet = undefined;
    await this.#channels?.close();
    this.#dtls?.close();
    await this.#ice.close();
  }

  #createDtls({ setup, fingerprint }: RemoteTransportParameters): DtlsSession {
    const { certificate, logger } = this.#options;
    const dtls = new DtlsSession({
      role: setup === 'active' ? 'server' : 'client',
      certificate,
      remoteFingerprint: fingerprint,
      send: (datagram) => this.#ice.send(datagram),
    });
    dtls.onClosed = (cause) => {
      if (this.#state === 'connected') {
        this.#options.onFailed(cause);
      }
    };
    this.#channels = new DataChannels({ dtls, logger });
    this.#channels.onMessage = this.#options.onData;
    return dtls;
  }

  /** RFC 7983: 20–63 DTLS, 128–191 SRTP and SRTCP. */
  #receive(datagram: Buffer): void {
    const first = datagram[0] ?? 0;
    if (first >= 128 && first <= 191) {
      const srtp = this.#srtp;
      if (srtp === undefined) {
        return;
      }
      if (looksLikeRtcp(datagram)) {
        const compound = srtp.receiver.unprotectRtcp(datagram);
        if (compound !== undefined) {
          this.#options.onRtcp(compound);
        }
        return;
      }
      const headerLength = rtpHeaderLength(datagram);
      if (headerLength < 0) {
        return;
      }
      const payload = srtp.receiver.unprotectRtp(datagram, headerLength);
      if (payload !== undefined) {
        this.#options.onRtp(datagram, payload);
      }
    } else if (first >= 20 && first <= 63) {
      this.#dtls?.receive(datagram);
    }
  }
}
