import type { ServiceError } from '../base/errors.ts';
import type { SafeEmitter } from '../base/events.ts';
import type { AudioCodec, VideoCodec } from '../model/packet.ts';

/**
 * The seam inside the SFU: signalling and negotiation (room-session, participant-session, negotiation) talk to
 * the media plane (transport/, forwarding/) only through these types.
 */

/** Header extension ids of one peer connection; 0 = not negotiated. */
export type HeaderExtensionIds = {
  mid: number;
  rid: number;
  repairedRid: number;
  transportCc: number;
  absSendTime: number;
  audioLevel: number;
  dependencyDescriptor: number;
};

export type DataChannelEvents = { open: undefined; message: Uint8Array; closed: undefined };
export type DataChannel = {
  readonly label: string;
  readonly isOpen: boolean;
  readonly bufferedBytes: number;
  readonly events: SafeEmitter<DataChannelEvents>;
  send(data: Uint8Array): void;
};

export type PeerState = 'new' | 'connecting' | 'connected' | 'failed' | 'closed';
export type PeerTransportEvents = {
  state: PeerState;
  /** A channel the client opened. */
  dataChannel: DataChannel;
};

/** One client's ICE-lite + DTLS + SRTP + SCTP on the shared UDP port. */
export type PeerTransport = {
  readonly state: PeerState;
  readonly localUfrag: string;
  readonly localPwd: string;
  /** SHA-256, upper-case hex pairs joined by ':'. */
  readonly localFingerprint: string;
  /** `candidate:` lines without the leading `a=`. */
  readonly candidates: readonly string[];
  readonly media: PeerMedia;
  readonly events: SafeEmitter<PeerTransportEvents>;
  /** Why the state is `failed`. */
  readonly failure: ServiceError | undefined;
  /**
   * Applies the client's offer. A changed remote ufrag is an ICE restart: localUfrag/localPwd are new afterwards.
   * `role`: 'passive' (default) waits for the ClientHello; 'active' sends it (FFmpeg's WHIP muxer).
   */
  setRemote(remote: { ufrag: string; fingerprint: string; role?: 'passive' | 'active' }): Promise<void>;
  /** Opens a channel towards the client (v0 signalling, where the server opens `_reliable` and `_lossy`). */
  openDataChannel(label: string, options: { ordered: boolean; maxRetransmits?: number }): DataChannel;
  close(cause: string): Promise<void>;
};

export type TransportOptions = {
  /** For logs. */
  label: string;
  /** The client wants its media in bursts this far apart; 0 or nothing = at once. */
  batchMs?: number;
  /** The peer is told the end by DTLS, as it has no signalling connection that could tell it. */
  closeNotify?: boolean;
};

/** Creates transports on one UDP socket, and one TCP listener. */
export type UdpMux = {
  readonly port: number;
  /** 0 = no ICE over TCP. */
  readonly tcpPort: number;
  createTransport(options: TransportOptions): PeerTransport;
  close(): Promise<void>;
};

export type NegotiatedCodec = {
  name: VideoCodec | AudioCodec;
  payloadType: number;
  /** 0 = no RTX. */
  rtxPayloadType: number;
  clockRateHz: number;
};

export type PublicationOptions = {
  mid: string;
  kind: 'video' | 'audio';
  codec: NegotiatedCodec;
  /** Simulcast rids in SDP order; [] or one = no simulcast. */
  rids: readonly string[];
  /** rid → layer (0 lowest). LiveKit clients name them q, h, f. */
  layerByRid: ReadonlyMap<string, number>;
  /** SSRCs announced in SDP (non-simulcast): primary → rtx ssrc or 0. */
  ssrcs: ReadonlyMap<number, number>;
  /** Its sender may not answer key frame requests: new receivers get what came since the last key frame. */
  keepsGop?: boolean;
};

export type LayerStats = {
  layer: number;
  rid: string;
  bitrateKbps: number;
  active: boolean;
  packets: number;
  lost: number;
};

/** What a layer looks like, read from its own packets; 0 = not seen yet. */
export type LayerFacts = {
  layer: number;
  width: number;
  height: number;
  framesPerSecond: number;
  packets: number;
  bytes: number;
  /** Monotonic; -Infinity before the first packet. */
  lastPacketMs: number;
};

/** A track as it arrives from its publisher. */
export type Publication = {
  readonly mid: string;
  readonly kind: 'video' | 'audio';
  readonly codec: NegotiatedCodec;
  layers(): LayerStats[];
  /** Loudest RFC 6464 level since the last call, 0 (loud) … 127 (silent); undefined when none arrived. */
  takeAudioLevel(): number | undefined;
  requestKeyframe(layer: number): void;
  /** What recently arrived, by layer; reads the retransmission history, so packets cost nothing. */
  inspect(): LayerFacts[];
  readonly forwarders: ReadonlySet<Forwarder>;
};

export type ForwarderBinding = {
  mid: string;
  payloadType: number;
  rtxPayloadType: number;
  absSendTimeId: number;
  transportCcId: number;
  dependencyDescriptorId: number;
};

/** One subscription: rewrites the publication's RTP for one receiver. */
export type Forwarder = {
  readonly ssrc: number;
  readonly rtxSsrc: number;
  readonly publication: Publication;
  readonly boundMid: string | undefined;
  /** The layer being sent, -1 before the first key frame. */
  readonly currentLayer: number;
  bind(binding: ForwarderBinding): void;
  unbind(): void;
  setMaxLayer(layer: number): void;
  setPaused(paused: boolean): void;
  stats(): {
    packets: number;
    octets: number;
    resent: number;
    nacks: number;
    plis: number;
    fractionLost: number;
  };
};

/** All RTP of one transport, both directions. */
export type PeerMedia = {
  /** Filled by negotiation from the offer's extmap lines. */
  readonly extensions: HeaderExtensionIds;
  addPublication(options: PublicationOptions): Publication;
  removePublication(mid: string): void;
  publication(mid: string): Publication | undefined;
  /** A forwarder of someone else's publication to this peer; bind() starts it. */
  createForwarder(publication: Publication): Forwarder;
  removeForwarder(forwarder: Forwarder): void;
  /** What is held back for a burst leaves now. */
  flush(): void;
  /** Latest REMB or own estimate for sending to this peer, 0 = unknown. */
  readonly availableOutgoingKbps: number;
  stats(): {
    packetsIn: number;
    packetsOut: number;
    bytesIn: number;
    bytesOut: number;
    decryptFailures: number;
  };
};
