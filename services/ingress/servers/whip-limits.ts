import { WHIP_LIMITS as BODY_LIMITS } from '../../protocol/whip.ts';

/** Everything an HTTP client can make us spend before and after it has shown a valid stream key. */
export type WhipLimits = {
  maxBodyBytes: number;
  bodyTimeoutMs: number;
  headersTimeoutMs: number;
  keepAliveTimeoutMs: number;
  maxHeaderBytes: number;
  maxConnections: number;
  maxConnectionsPerAddress: number;
  /** Wrong stream keys and resources per address and minute; further requests get 429. */
  maxFailuresPerAddressPerMinute: number;
  /** Requests of one address: how many at once, and how fast the allowance grows again. */
  requestBurst: number;
  requestsPerS: number;
  /** Refusals of a key are sent no earlier than this, so that time says nothing about it. */
  refusalDelayMs: number;
};

export const WHIP_LIMITS: WhipLimits = {
  ...BODY_LIMITS,
  headersTimeoutMs: 10_000,
  keepAliveTimeoutMs: 10_000,
  maxHeaderBytes: 16 * 1024,
  maxConnections: 1_000,
  maxConnectionsPerAddress: 100,
  maxFailuresPerAddressPerMinute: 20,
  requestBurst: 100,
  requestsPerS: 5,
  refusalDelayMs: 300,
};
