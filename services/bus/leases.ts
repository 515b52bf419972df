/**
 * Leases: who runs an egress job or an ingress session shows a sign of life, and when the signs stop, somebody else
 * says that it failed. Without them a record would stay ACTIVE or PUBLISHING for ever after its node lost power.
 *
 * A node:
 *
 *     const leases = createLeases(bus, 'egress', { nodeId, logger });  // RedisBus: real; MemoryBus: does nothing
 *     const release = await leases.hold(egressId);                     // before the record says that it runs
 *     …                                                                // signs of life by themselves
 *     await release();                                                 // after the final state was reported
 *     await leases.close();                                            // with the node; those still held run out
 *
 * Every API and every node, any number of them:
 *
 *     const reaper = startLeaseReaper(bus, { nodeId, logger });
 *     await reaper.close();
 *
 * The reaper reports through IOInfo exactly as a worker does, so whatever follows from an update (store, webhooks)
 * follows. One of all reapers wins a record by lock. LiveKit's own workers never have a lease, and only what had one
 * is ever reaped. In one process (MemoryBus) nothing can outlive its owner: both do nothing.
 */
import type { Logger } from '../base/logger.ts';
import type { Bus, Unregister } from './bus.ts';
import { LeaseReaper } from './lease-reaper.ts';
import { RedisBus } from './redis-bus.ts';
import { LOST_EGRESS } from './lost-egress.ts';
import { LOST_INGRESS } from './lost-ingress.ts';
import { RedisLeases } from './redis-leases.ts';

/** By egress id; by ingress id, as an endpoint has one session at a time. */
export type LeaseKind = 'egress' | 'ingress';

export type Leases = {
  /**
   * Takes the lease of a record and keeps it alive until the returned function is called.
   * @throws ServiceError unavailable when there is no connection to Redis: what nobody could miss must not start.
   */
  hold(id: string): Promise<Unregister>;
  /** No more signs of life. Leases that are still held run out, and their records are reported as failed. */
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

export function createLeases(bus: Bus, kind: LeaseKind, options: LeaseOptions): Leases {
  if (bus instanceof RedisBus) {
    return new RedisLeases(bus.connection, kind, { ...options, timing: options.timing ?? LEASE_TIMING });
  }
  return {
    hold: () => Promise.resolve(() => Promise.resolve()),
    close: () => Promise.resolve(),
  };
}

export function startLeaseReaper(bus: Bus, options: LeaseOptions): { close(): Promise<void> } {
  if (!(bus instanceof RedisBus)) {
    return { close: () => Promise.resolve() };
  }
  const timed = { ...options, timing: options.timing ?? LEASE_TIMING };
  const reapers = [LOST_EGRESS, LOST_INGRESS].map((work) => new LeaseReaper(bus, work, timed));
  return {
    close: async () => {
      await Promise.all(reapers.map((reaper) => reaper.close()));
    },
  };
}
