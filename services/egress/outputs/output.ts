import type { EncodedPacket, TrackFormat } from '../../model/packet.ts';

/**
 * One place the packets of a job go: a file, segments, images, or one stream address. An output owns a bounded queue
 * and its own failures: `write` never throws, never waits and never slows another output down.
 */
export type EgressOutput = {
  /** Before the first packet of a track, and again when its format changes. */
  addTrack(format: TrackFormat): void;
  write(packet: EncodedPacket): void;
  /** After the last packet: writes what is queued, uploads, fills the record. Never rejects: failures are the record's. */
  finish(): Promise<void>;
  /** Gives up at once and frees everything; also after `finish`. Idempotent. */
  close(cause: string): Promise<void>;
};
