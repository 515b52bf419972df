/** Seconds from the NTP era (1900) to the Unix epoch. */
const NTP_UNIX_OFFSET_S = 2_208_988_800;
/** A getter that is not cheap. */
const TIME_ORIGIN_MS = performance.timeOrigin;

/** 64-bit NTP timestamp as microseconds since 1900; exact to the microsecond in a JS number. */
export function ntpToUs(seconds: number, fraction: number): number {
  return seconds * 1_000_000 + Math.round((fraction * 1_000_000) / 0x1_0000_0000);
}

export function ntpSeconds(ntpUs: number): number {
  return Math.floor(ntpUs / 1_000_000) % 0x1_0000_0000;
}

export function ntpFraction(ntpUs: number): number {
  return Math.floor(((ntpUs % 1_000_000) * 0x1_0000_0000) / 1_000_000);
}

/** Wall clock as NTP microseconds, running on the monotonic clock. */
export function nowNtpUs(): number {
  return ntpUsAt(performance.now());
}

/** The same for a moment of performance.now(). */
export function ntpUsAt(monotonicMs: number): number {
  return Math.round((TIME_ORIGIN_MS + monotonicMs) * 1000) + NTP_UNIX_OFFSET_S * 1_000_000;
}

/** The middle 32 bits, as LSR and DLSR use them (RFC 3550 §6.4.1). */
export function compactNtp(seconds: number, fraction: number): number {
  return (((seconds & 0xffff) << 16) | (fraction >>> 16)) >>> 0;
}

/** abs-send-time header extension: 24 bits, 6.18 fixed point seconds. */
export function absSendTime(ntpUs: number): number {
  return Math.floor(((ntpUs % 64_000_000) * 0x4_0000) / 1_000_000) & 0xff_ffff;
}
