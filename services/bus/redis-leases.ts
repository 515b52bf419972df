import { messageOf } from '../base/errors.ts';
import type { Unregister } from './bus.ts';
import type { LeaseKind, LeaseOptions, Leases, LeaseTiming } from './leases.ts';
import type { RedisConnection } from './redis-connection.ts';

/** Ids of all that is leased, scored with the time of the last sign of life (Redis's clock, ms). */
export function leasedIds(kind: LeaseKind): string {
  return `sluice:leases:${kind}`;
}

/** Holds its owner, a node and a number, and expires by itself. */
export function leaseKey(kind: LeaseKind, id: string): string {
  return `sluice:lease:${kind}:${id}`;
}

/** KEYS lease, leased ids; ARGV id, owner, ttl in ms. */
const REFRESH = `
local now = redis.call('TIME')
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return redis.call('ZADD', KEYS[2], now[1] * 1000 + math.floor(now[2] / 1000), ARGV[1])`;

/** KEYS as above; ARGV id, owner: a lease somebody else took meanwhile stays his. */
const RELEASE = `
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[2] then return 0 end
redis.call('DEL', KEYS[1])
return redis.call('ZREM', KEYS[2], ARGV[1])`;

/** The leases of one node. One timer refreshes all of them; coming back after a lost connection does too. */
export class RedisLeases implements Leases {
  readonly #connection: RedisConnection;
  readonly #kind: LeaseKind;
  readonly #options: LeaseOptions & { timing: LeaseTiming };
  /** What the lease of each id says: every time it is held anew it is another one. */
  readonly #held = new Map<string, string>();
  #holds = 0;
  readonly #timer: NodeJS.Timeout;
  readonly #stopObserving: () => void;
  #isFailing = false;

  constructor(connection: RedisConnection, kind: LeaseKind, options: LeaseOptions & { timing: LeaseTiming }) {
    this.#connection = connection;
    this.#kind = kind;
    this.#options = options;
    this.#timer = setInterval(() => void this.#refreshAll(), options.timing.refreshMs).unref();
    this.#stopObserving = connection.observe((state) => {
      if (state === 'ready') {
        void this.#refreshAll();
      }
    });
  }

  async hold(id: string): Promise<Unregister> {
    this.#holds += 1;
    const owner = `${this.#options.nodeId}/${this.#holds}`;
    this.#held.set(id, owner);
    try {
      await this.#refresh(id, owner);
    } catch (error) {
      this.#drop(id, owner);
      throw error;
    }
    return () => this.#release(id, owner);
  }

  close(): Promise<void> {
    clearInterval(this.#timer);
    this.#stopObserving();
    this.#held.clear();
    return Promise.resolve();
  }

  #drop(id: string, owner: string): boolean {
    return this.#held.get(id) === owner && this.#held.delete(id);
  }

  async #release(id: string, owner: string): Promise<void> {
    if (!this.#drop(id, owner)) {
      return;
    }
    try {
      await this.#connection.run((redis) =>
        redis.eval(RELEASE, 2, leaseKey(this.#kind, id), leasedIds(this.#kind), id, owner),
      );
    } catch (error) {
      // It runs out by itself, and a reaper leaves alone what ended.
      this.#options.logger.warn({ kind: this.#kind, id, reason: messageOf(error) }, 'lease not released');
    }
  }

  async #refreshAll(): Promise<void> {
    if (this.#connection.state !== 'ready') {
      return;
    }
    try {
      await Promise.all([...this.#held].map(([id, owner]) => this.#refresh(id, owner)));
      this.#isFailing = false;
    } catch (error) {
      if (!this.#isFailing) {
        this.#options.logger.warn({ kind: this.#kind, reason: messageOf(error) }, 'leases not refreshed');
      }
      this.#isFailing = true;
    }
  }

  async #refresh(id: string, owner: string): Promise<void> {
    const keys = [leaseKey(this.#kind, id), leasedIds(this.#kind)];
    const { ttlMs } = this.#options.timing;
    await this.#connection.run((redis) => redis.eval(REFRESH, 2, ...keys, id, owner, ttlMs));
  }
}
