import type { ChunkLimits } from '../../protocol/rtmp-chunk.ts';

/** Everything a peer can make us spend before and after it has shown a valid stream key. */
export type RtmpLimits = {
  /** C0 to C2. */
  handshakeTimeoutMs: number;
  /** From the end of the handshake until publish was asked for. */
  publishTimeoutMs: number;
  /** Longest pause between two media messages of a publisher. */
  mediaTimeoutMs: number;
  maxConnections: number;
  maxConnectionsPerAddress: number;
  /** Wrong stream keys per address and minute before new connections are refused. */
  maxFailuresPerAddressPerMinute: number;
  /** Refusals are sent no earlier than this after publish, so that time says nothing about a key. */
  refusalDelayMs: number;
  maxCommands: number;
  maxCommandBytes: number;
  maxPublishNameBytes: number;
  beforePublish: ChunkLimits;
  publishing: ChunkLimits;
  /** Faster senders are slowed down by TCP. */
  maxBytesPerS: number;
  /** Unread answers; a peer that does not read is dropped. */
  maxUnsentBytes: number;
};

export const RTMP_LIMITS: RtmpLimits = {
  handshakeTimeoutMs: 5_000,
  publishTimeoutMs: 10_000,
  mediaTimeoutMs: 15_000,
  maxConnections: 1_000,
  maxConnectionsPerAddress: 100,
  maxFailuresPerAddressPerMinute: 20,
  refusalDelayMs: 300,
  maxCommands: 64,
  maxCommandBytes: 16_384,
  maxPublishNameBytes: 1_024,
  beforePublish: {
    ...{ maxMessageBytes: 65_536, maxBufferedBytes: 131_072 },
    ...{ maxChunkStreams: 16, maxTrustedBytes: 0 },
  },
  publishing: {
    ...{ maxMessageBytes: 8_000_000, maxBufferedBytes: 12_000_000 },
    ...{ maxChunkStreams: 64, maxTrustedBytes: 262_144 },
  },
  maxBytesPerS: 25_000_000,
  maxUnsentBytes: 65_536,
};
