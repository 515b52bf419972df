/** What an HTTP client may cost before anybody knows who it is. */
export const HTTP_LIMITS = {
  /** LiveKit's largest legal requests (64 kB of data or metadata, base64 in JSON) fit several times. */
  bodyBytes: 1024 * 1024,
  headerBytes: 16 * 1024,
  headerCount: 100,
  urlBytes: 8 * 1024,
  headersTimeoutMs: 10_000,
  requestTimeoutMs: 30_000,
  keepAliveTimeoutMs: 30_000,
  connections: 4096,
} as const;
