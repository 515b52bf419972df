import type { Logger } from '../../base/logger.ts';
import type { EncodedPacket, TrackFormat } from '../../model/packet.ts';

/** mp4-fragmented holds H.264, AAC and Opus; webm VP8 or VP9; ogg Opus. */
export type Container = 'mp4-fragmented' | 'webm' | 'ogg';

/** Where the bytes of a container go. Writes may jump back to fill in sizes; they are applied in call order. */
export type ByteSink = {
  write(data: Uint8Array, position: number): Promise<void>;
  close(): Promise<void>;
};

export type MuxerOptions = {
  container: Container;
  /** The tracks that will come; decides how long the header waits. */
  kinds: readonly ('video' | 'audio')[];
  sink: ByteSink;
  logger: Logger;
  /**
   * Format of a track that is known before its first packet, so that a track which comes late still finds its place
   * in the header.
   */
  expectedFormats?: readonly TrackFormat[];
  /** Called once when the sink fails (disk full); later packets are dropped. */
  onError: (error: Error) => void;
};

export type MuxerStats = {
  packets: number;
  /** Late tracks, packets before the first key frame, clock going back. */
  droppedPackets: number;
  bytes: number;
  /** From the first to the end of the last packet. */
  durationUs: number;
};

/**
 * Packets in, one playable file out. The file on the sink is playable at any moment, about a second behind the input,
 * so that a crash loses no recording.
 */
export type Muxer = {
  readonly stats: MuxerStats;
  /** Announces a track, or a change of its format (only the size may change: H.264 and VP8 carry it in band). */
  addTrack(format: TrackFormat): void;
  /** Never blocks. */
  write(packet: EncodedPacket): void;
  /** Writes what is left and closes the sink. Rejects with the sink's error. Idempotent. */
  finish(): Promise<void>;
};
