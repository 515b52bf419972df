import type { Logger } from '../../base/logger.ts';
import type { AmfObject } from '../../protocol/amf0.ts';

/** A coded picture or sound frame as FLV carries it; one object for all destinations, never changed. */
export type FlvMessage = {
  kind: 'video' | 'audio';
  /** A decoder can start here: a key frame, or any sound while there is no picture. */
  startsDecoding: boolean;
  dtsUs: number;
  /** Pieces of the tag body. */
  body: readonly Uint8Array[];
  bytes: number;
  /** Body of the tag with the decoder configuration that must have come before; the same object until it changes. */
  config: readonly Uint8Array[];
};

/** One connection that takes media; made anew for every attempt. */
export type StreamLink = {
  /** Grows with what the far side (or the network in front of it) really took. */
  readonly sentBytes: number;
  /** Media that write() has handed over may still wait here, so that `sentBytes` must grow. */
  readonly hasUnsent: boolean;
  /** Settles when the connection is of no more use; never rejects. */
  readonly closed: Promise<Error>;
  /** Calls back when the network took the batch. One write at a time. Never throws. */
  write(batch: readonly FlvMessage[], onTaken: () => void): void;
  /** Says goodbye as the protocol wants it and hangs up. Never rejects. */
  finish(): Promise<void>;
  /** Hangs up at once; `closed` settles with the error. Idempotent. */
  destroy(error: Error): void;
};

export type OpenLinkOptions = {
  signal: AbortSignal;
  /** onMetaData for the tracks known now. */
  metadata: () => AmfObject;
  logger: Logger;
};

/** @throws ServiceError that names the destination and what it answered, and no secret. */
export type OpenLink = (options: OpenLinkOptions) => Promise<StreamLink>;

export type StreamTimeouts = {
  /** TCP, TLS and the protocol's opening, each step. */
  openMs: number;
  /** Nothing taken for so long while there is something to send: the connection is wedged. */
  stallMs: number;
  /** From a disconnect until the destination counts as lost. */
  reconnectMs: number;
  /** For what is queued when the stream ends. */
  drainMs: number;
};

export const STREAM_TIMEOUTS: StreamTimeouts = {
  openMs: 10_000,
  stallMs: 10_000,
  reconnectMs: 30_000,
  drainMs: 3_000,
};
