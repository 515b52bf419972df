/**
 * Leases: who runs an egress job shows a sign of life, and when the signs stop, somebody else says that the job
 * failed. Without them the record of a job would stay ACTIVE for ever after its node lost power.
 *
 * An egress node:
 *
 *     const leases = createEgressLeases(bus, { nodeId, logger });  // RedisBus: real; MemoryBus: does nothing
 *     const release = await leases.hold(egressId);                 // before IOInfo.CreateEgress
 *     …                                                            // the job runs; signs of life by themselves
 *     await release();                                             // after its final state was reported
 *     await leases.close();                                        // with the node; leases still held run out
 *
 * Every API and every egress node, any number of them:
 *
 *     const reaper = startLeaseReaper(bus, { nodeId, logger });
 *     await reaper.close();
 *
 * The reaper reports through IOInfo.UpdateEgress exactly as a worker does, so whatever follows from an update
 * (store, webhooks) follows. One of all reapers wins a job by lock. Jobs of LiveKit's own workers never have a
 * lease, and only what had one is ever reaped. In one process (MemoryBus) a job cannot outlive its owner: both
 * do nothing.
 */
import type { Logger } from '../base/logger.ts';
import type { Bus, Unregister } from './bus.ts';
import { LeaseReaper } from './lease-reaper.ts';
import { RedisBus } from './redis-bus.ts';
import { RedisEgressLeases } from './redis-leases.ts';

export type EgressLeases = {
  /**
   * Takes the lease of a job and keeps it alive until the returned function is called.
   * @throws ServiceError unavailable when there is no connection to Redis: a job nobody could miss must not start.
   */
  hold(egressId: string): Promise<Unregister>;
  /** No more signs of life. Leases that are still held run out, and their jobs are reported as failed. */
  close(): Promise<void>;
};

export type LeaseOptions = { nodeId: string; logger: Logger; timing?: LeaseTiming };

/** Together below 10 s: the time from the last sign of life to the report. */
export type LeaseTiming = {
  /** A lease without sign of life lives this long. */
  ttlMs: number;
  refreshMs: number;
  /** How often reapers look. */
  checkMs: number;
  /** How long a lease must be seen missing: owners may need a moment to come back when Redis does. */
  confirmMs: number;
};

export const LEASE_TIMING: LeaseTiming = { ttlMs: 5_000, refreshMs: 2_000, checkMs: 1_000, confirmMs: 1_500 };

export function createEgressLeases(bus: Bus, options: LeaseOptions): EgressLeases {
  if (bus instanceof RedisBus) {
    return new RedisEgressLeases(bus.connection, { ...options, timing: options.timing ?? LEASE_TIMING });
  }
  return {
    hold: () => Promise.resolve(() => Promise.resolve()),
    close: () => Promise.resolve(),
  };
}

export function startLeaseReaper(bus: Bus, options: LeaseOptions): { close(): Promise<void> } {
  if (bus instanceof RedisBus) {
    return new LeaseReaper(bus, { ...options, timing: options.timing ?? LEASE_TIMING });
  }
  return { close: () => Promise.resolve() };
}
