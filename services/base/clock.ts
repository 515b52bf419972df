/** Monotonic microseconds as an integer; safe as a JS number for 285 years of uptime. */
export function monotonicUs(): number {
  return Math.round(performance.now() * 1000);
}

/** Wall clock in nanoseconds since the epoch, the unit of LiveKit's EgressInfo and IngressState. */
export function unixNs(): bigint {
  return BigInt(Math.round((performance.timeOrigin + performance.now()) * 1000)) * 1000n;
}
