import type { SafeEmitter } from '../../base/events.ts';
import type { EncodedPacket, TrackFormat } from '../../model/packet.ts';

/** Why a source stopped by itself; the wording of EgressInfo.details ("End reason: …") derives from it. */
export type SourceEnd =
  | { reason: 'source_closed' } // room ended, tracks gone, page said END_RECORDING
  | { reason: 'failed'; error: Error };

export type EgressSourceEvents = {
  /** Once per track before its first packet, again when the format changes. */
  format: TrackFormat;
  /** Packets of all tracks on one session clock that starts near 0 at the start of the recording. */
  packet: EncodedPacket;
  ended: SourceEnd;
};

/** Where egress media comes from: a Chrome page or room tracks. */
export type EgressSource = {
  readonly events: SafeEmitter<EgressSourceEvents>;
  /**
   * Resolves when media flows (page: its start signal; track: subscribed).
   * `tracks`: the kinds that will come, so that outputs can be opened with the right track set.
   * @throws ServiceError with LiveKit's code (not_found, failed_precondition 412 "Start signal not received"…).
   */
  start(signal: AbortSignal): Promise<{ kinds: ('video' | 'audio')[] }>;
  requestKeyframe(): void;
  /** Stops capturing; resolves after the last packet was emitted. Idempotent. */
  stop(): Promise<void>;
  /** Frees browser, sockets and temp files, also after a failed start. Idempotent. */
  close(cause: string): Promise<void>;
};
