/** Everything a peer can make us spend before and after it has shown a valid stream key. */
export type SrtLimits = {
  /** Longer datagrams than SRT's own largest are not read. */
  maxDatagramBytes: number;
  /** Handshakes per address: at once, and then per second. A caller repeats each of its two four times a second. */
  handshakeBurst: number;
  handshakesPerS: number;
  /** Callers whose key is being looked up or whose reader is being started. */
  maxHalfOpen: number;
  /** Refusals are sent no earlier than this, so that time says nothing about a key. */
  refusalDelayMs: number;
  /** From the accepted key until the connection stands. */
  openTimeoutMs: number;
  /** A peer sends something every second, media or not; one that is silent for so long is gone. */
  silenceTimeoutMs: number;
  /** Longest pause of the media. */
  mediaTimeoutMs: number;
  /** What comes faster is thrown away. */
  maxBytesPerS: number;
};

export const SRT_LIMITS: SrtLimits = {
  maxDatagramBytes: 1_500,
  handshakeBurst: 100,
  handshakesPerS: 40,
  maxHalfOpen: 64,
  refusalDelayMs: 300,
  openTimeoutMs: 5_000,
  silenceTimeoutMs: 4_500,
  mediaTimeoutMs: 15_000,
  maxBytesPerS: 25_000_000,
};
