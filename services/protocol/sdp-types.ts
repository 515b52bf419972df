/**
 * The part of SDP (RFC 8866, JSEP RFC 9429) that WebRTC audio, video and data channels use, as plain data.
 * sdp-parse.ts reads it with limits, sdp-write.ts writes it; both serve offers and answers.
 */
export type SdpDirection = 'sendrecv' | 'sendonly' | 'recvonly' | 'inactive';
export type SdpSetup = 'actpass' | 'active' | 'passive';
export type SdpMediaKind = 'audio' | 'video' | 'application' | 'other';

export type SdpCodec = {
  payloadType: number;
  /** Encoding name as written, e.g. `VP8`, `H264`, `opus`. */
  name: string;
  clockRateHz: number;
  /** 1 when the rtpmap names none. */
  channels: number;
  /** Format parameters without the payload type; '' when absent. */
  fmtp: string;
  /** rtcp-fb values, e.g. `nack pli`. */
  feedback: readonly string[];
  /** Payload type of the RFC 4588 stream that repairs this codec; 0 = none. */
  rtxPayloadType: number;
};

export type SdpSource = {
  ssrc: number;
  /** SSRC of the paired RTX stream (ssrc-group FID); 0 = none. */
  rtxSsrc: number;
};

export type SdpMediaSection = {
  kind: SdpMediaKind;
  /** The word after `m=`; differs from kind only for 'other'. */
  mediaType: string;
  protocol: string;
  /** Port 0 without a=bundle-only: the section is unused (RFC 9429 section 5.2.2). */
  rejected: boolean;
  /** '' only for rejected sections. */
  mid: string;
  direction: SdpDirection;
  /** a=msid: stream and track id; '' when absent or '-'. */
  streamId: string;
  trackId: string;
  /** Distinct a=msid values of the section, or those of its sources when they are more (one per track in Plan B). */
  msids: readonly string[];
  codecs: readonly SdpCodec[];
  /** Header extension URI → id. */
  extensions: ReadonlyMap<string, number>;
  /** Restriction ids in simulcast order, sent by the side that wrote the SDP. */
  sendRids: readonly string[];
  recvRids: readonly string[];
  /** Sources without the RTX ones, which hang on their primary. */
  sources: readonly SdpSource[];
};

export type SessionDescription = {
  iceUfrag: string;
  icePwd: string;
  iceLite: boolean;
  /** SHA-256 certificate fingerprint, upper-case hex pairs joined by ':'. */
  fingerprint: string;
  setup: SdpSetup;
  /** `candidate:…` lines without `a=`, of the first bundled section. */
  candidates: readonly string[];
  media: readonly SdpMediaSection[];
};

/** Upper bounds checked while parsing; what is beyond them is refused, never truncated. */
export const SDP_LIMITS = {
  /** Chromium writes 6 KB per video section: this is room for about 150 subscribed tracks. */
  maxBytes: 1024 * 1024,
  maxLineBytes: 4096,
  maxMediaSections: 512,
  maxCodecsPerSection: 128,
  maxExtensionsPerSection: 64,
  maxSourcesPerSection: 64,
  maxRidsPerSection: 8,
  maxCandidates: 128,
} as const;

/** Header extension URIs the SFU and the room client understand. */
export const EXTENSION_URI = {
  mid: 'urn:ietf:params:rtp-hdrext:sdes:mid',
  rid: 'urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id',
  repairedRid: 'urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id',
  audioLevel: 'urn:ietf:params:rtp-hdrext:ssrc-audio-level',
  absSendTime: 'http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time',
  transportCc: 'http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01',
  dependencyDescriptor:
    'https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension',
} as const;
