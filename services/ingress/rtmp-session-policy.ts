/** How RTMP sessions deal with encoders that come back, come twice, or fall behind. */
export type RtmpSessionPolicy = {
  /** How long a participant waits for an encoder that went without goodbye; 0 = it leaves at once. */
  reconnectWindowMs: number;
  /** What a second encoder with the same key gets: refused, the first one's place, or to stand by for it. */
  duplicateKey: 'reject' | 'replace' | 'backup';
  /** Media this late is skipped up to the next key frame. */
  maxLatencyMs: number;
};

export const RTMP_SESSION_POLICY: RtmpSessionPolicy = {
  reconnectWindowMs: 10_000,
  duplicateKey: 'reject',
  maxLatencyMs: 1_000,
};

/** An encoder without goodbye and without media for this long is believed gone when another one comes. */
export const SILENT_AFTER_MS = 3_000;
