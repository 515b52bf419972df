import { messageOf } from '../base/errors.ts';
import type { Unregister } from './bus.ts';
import type { EgressLeases, LeaseOptions, LeaseTiming } from './leases.ts';
import type { RedisConnection } from './redis-connection.ts';

/** Ids of all leased jobs, scored with the time of the last sign of life (Redis's clock, ms). */
export const LEASED_JOBS = 'sluice:leases:egress';

/** Holds the owner's node id and expires by itself. */
export function leaseKey(egressId: string): string {
  return `sluice:lease:egress:${egressId}`;
}

/** KEYS lease, leased jobs; ARGV egress id, node id, ttl in ms. */
const REFRESH = `
local now = redis.call('TIME')
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return redis.call('ZADD', KEYS[2], now[1] * 1000 + math.floor(now[2] / 1000), ARGV[1])`;

/** KEYS as above; ARGV egress id, node id: a lease somebody else took meanwhile stays his. */
const RELEASE = `
if redis.call('GET', KEYS[1]) == ARGV[2] then redis.call('DEL', KEYS[1]) end
return redis.call('ZREM', KEYS[2], ARGV[1])`;

/** The leases of one node. One timer refreshes all of them; coming back after a lost connection does too. */
export class RedisEgressLeases implements EgressLeases {
  readonly #connection: RedisConnection;
  readonly #options: LeaseOptions & { timing: LeaseTiming };
  readonly #held = new Set<string>();
  readonly #timer: NodeJS.Timeout;
  readonly #stopObserving: () => void;
  #isFailing = false;

  constructor(connection: RedisConnection, options: LeaseOptions & { timing: LeaseTiming }) {
    this.#connection = connection;
    this.#options = options;
    this.#timer = setInterval(() => void this.#refreshAll(), options.timing.refreshMs).unref();
    this.#stopObserving = connection.observe((state) => {
      if (state === 'ready') {
        void this.#refreshAll();
      }
    });
  }

  async hold(egressId: string): Promise<Unregister> {
    await this.#refresh(egressId);
    this.#held.add(egressId);
    return () => this.#release(egressId);
  }

  close(): Promise<void> {
    clearInterval(this.#timer);
    this.#stopObserving();
    this.#held.clear();
    return Promise.resolve();
  }

  async #release(egressId: string): Promise<void> {
    if (!this.#held.delete(egressId)) {
      return;
    }
    try {
      await this.#connection.run((redis) =>
        redis.eval(RELEASE, 2, leaseKey(egressId), LEASED_JOBS, egressId, this.#options.nodeId),
      );
    } catch (error) {
      // It runs out by itself, and a reaper leaves ended jobs alone.
      this.#options.logger.warn({ egressId, reason: messageOf(error) }, 'egress lease not released');
    }
  }

  async #refreshAll(): Promise<void> {
    if (this.#connection.state !== 'ready') {
      return;
    }
    try {
      await Promise.all([...this.#held].map((egressId) => this.#refresh(egressId)));
      this.#isFailing = false;
    } catch (error) {
      if (!this.#isFailing) {
        this.#options.logger.warn({ reason: messageOf(error) }, 'egress leases not refreshed');
      }
      this.#isFailing = true;
    }
  }

  async #refresh(egressId: string): Promise<void> {
    const { nodeId, timing } = this.#options;
    await this.#connection.run((redis) =>
      redis.eval(REFRESH, 2, leaseKey(egressId), LEASED_JOBS, egressId, nodeId, timing.ttlMs),
    );
  }
}
