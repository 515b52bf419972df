import type { LocalMedia } from '../media/rtp/local-media.ts';
import type { Logger } from '../base/logger.ts';
import type { SafeEmitter } from '../base/events.ts';
import type {
  AudioFormat,
  EncodedPacket,
  TrackFormat,
  VideoCodec,
  AudioCodec,
  VideoFormat,
} from '../model/packet.ts';

export type TrackSourceName = 'unknown' | 'camera' | 'microphone' | 'screen_share' | 'screen_share_audio';

export type RoomClientOptions = {
  /** ws:// or wss:// base URL of a LiveKit-compatible server. */
  url: string;
  token: string;
  /** true: the server subscribes us to everything; false: only what `subscribe` asks for. */
  autoSubscribe: boolean;
  logger: Logger;
  /** Aborts connecting, and closes the client when it fires later. */
  signal?: AbortSignal;
  connectTimeoutMs?: number;
  /**
   * Media may come in bursts this far apart, for consumers to whom latency does not matter: each wake-up of the process
   * costs more than the packets it brings. Only our own server heeds it. 0 or nothing = media as it comes.
   */
  mediaBatchMs?: number;
  /** AV1 and H.265 too, which recordings cannot hold. Default: false. */
  receivesEveryCodec?: boolean;
  /** Shared with a server in this process: published RTP is then handed over without SRTP. */
  localMedia?: LocalMedia;
};

export type RemoteTrack = {
  trackSid: string;
  kind: 'video' | 'audio';
  codec: VideoCodec | AudioCodec;
  source: TrackSourceName;
  name: string;
  /** Largest published layer as announced; 0 for audio. */
  width: number;
  height: number;
  muted: boolean;
  participantIdentity: string;
  participantSid: string;
};

export type PublishOptions = {
  /** A video format with layers is published as simulcast. */
  format: VideoFormat | AudioFormat;
  name: string;
  source: TrackSourceName;
  /** Announced to subscribers and used for pacing; 0 = unknown. */
  bitrateKbps?: number;
  muted?: boolean;
};

/** Publishes encoded media: nothing is decoded or re-encoded on the way into the room. */
export type TrackPublisher = {
  readonly trackSid: string;
  /**
   * Sends one access unit (Annex B for H264/H265) or one Opus frame. ptsUs is on the caller's session clock,
   * one clock for all tracks of this client, so that receivers get lip sync through RTCP sender reports.
   * Never blocks; packets written before the transport is up are dropped up to the last key frame.
   */
  write(packet: EncodedPacket): void;
  setMuted(muted: boolean): void;
  readonly events: SafeEmitter<TrackPublisherEvents>;
  unpublish(): Promise<void>;
};
export type TrackPublisherEvents = {
  keyframeRequested: { atUs: number };
  /** The server says whether anybody is to get this video, in whatever size (dynacast); until then: yes. */
  watched: { isWatched: boolean };
  closed: { cause: string };
};

export type TrackSubscriptionEvents = {
  /** Before the first packet and whenever codec, size or channels change. */
  format: TrackFormat;
  /**
   * Whole frames in decode order. ptsUs is on the client's session clock (monotonicUs() epoch), mapped from RTP
   * time by RTCP sender reports so that tracks of one publisher line up.
   */
  packet: EncodedPacket;
  /** Frames lost for good (after NACK): how many RTP packets were missing. */
  lost: { packets: number };
  muted: boolean;
  ended: { cause: string };
};
export type TrackSubscription = {
  readonly track: RemoteTrack;
  readonly events: SafeEmitter<TrackSubscriptionEvents>;
  requestKeyframe(): void;
  unsubscribe(): Promise<void>;
};

export type RoomClientEvents = {
  trackPublished: RemoteTrack;
  trackUnpublished: RemoteTrack;
  trackMuted: { track: RemoteTrack; muted: boolean };
  participantJoined: { identity: string; sid: string; name: string; kind: string };
  participantLeft: { identity: string; sid: string };
  /** The own metadata changed (UpdateLayout reaches an egress this way). */
  metadataChanged: { metadata: string };
  data: { payload: Uint8Array; topic: string; fromIdentity: string };
  reconnecting: { attempt: number };
  reconnected: { resumed: boolean };
  /** Terminal. reason: LiveKit's DisconnectReason name or a transport failure. */
  disconnected: { reason: string };
};

export type RoomClient = {
  readonly roomSid: string;
  readonly roomName: string;
  readonly participantSid: string;
  readonly identity: string;
  readonly events: SafeEmitter<RoomClientEvents>;
  /** Tracks of all remote participants that are published right now. */
  tracks(): RemoteTrack[];
  participants(): { identity: string; sid: string; name: string; kind: string }[];
  publish(options: PublishOptions): Promise<TrackPublisher>;
  subscribe(trackSid: string): Promise<TrackSubscription>;
  updateAttributes(attributes: Record<string, string>): void;
  /** What others see of this participant; '' leaves it as it is. */
  updateProfile(profile: { name: string; metadata: string }): void;
  /** Sends `leave`, closes the transport; idempotent. */
  close(cause: string): Promise<void>;
};

/** `connectRoom` in room-client.ts. @throws ServiceError unauthenticated | unavailable | deadline_exceeded. */
export type ConnectRoom = (options: RoomClientOptions) => Promise<RoomClient>;
