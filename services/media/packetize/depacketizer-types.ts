export type AssembledFrame = {
  data: Uint8Array;
  /** Decodable on its own. */
  key: boolean;
};

/** Rebuilds coded frames from RTP payloads. Never throws on input. */
export type Depacketizer = {
  /** Every packet is a frame; the marker bit says nothing about where frames end (audio, RFC 3551 §4.1). */
  readonly framePerPacket: boolean;
  /**
   * True when a frame may begin with this payload. After a gap it tells whether the packet before it belonged to the
   * same frame.
   */
  isFrameStart(payload: Uint8Array): boolean;
  /**
   * `payloads` are all payloads of one frame in order. 'empty': nothing to decode by itself (parameter sets alone, for
   * example); undefined: malformed.
   */
  assemble(payloads: readonly Uint8Array[]): AssembledFrame | 'empty' | undefined;
};
