import { messageOf } from '../base/errors.ts';
import type { Bus } from './bus.ts';
import type { LeaseKind, LeaseOptions, LeaseTiming } from './leases.ts';
import type { RedisBus } from './redis-bus.ts';
import { leasedIds, leaseKey } from './redis-leases.ts';

/** What becomes of a record whose owner is gone. */
export type LostWork = {
  kind: LeaseKind;
  /** Reports the failure; false = there was nothing to report. @throws ServiceError when nobody listens. */
  report(bus: Bus, lost: Lost): Promise<boolean>;
};

export type Lost = {
  id: string;
  silentMs: number;
  /** False: somebody has taken it up again meanwhile. */
  isStillLost: () => Promise<boolean>;
};

/** As long as reporting may take; a reaper that dies in between leaves the job to the next one. */
const LOCK_MS = 10_000;

/** KEYS lease, reaper's lock; ARGV node id, lock time in ms. 1 = this one reaps, 0 = another does, -1 = alive again. */
const LOCK = `
if redis.call('EXISTS', KEYS[1]) == 1 then return -1 end
if redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2], 'NX') then return 1 end
return 0`;

/** KEYS lease, leased ids; ARGV id. */
const FORGET = `
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
return redis.call('ZREM', KEYS[2], ARGV[1])`;

/** Looks for records whose lease ran out and reports them as failed. */
export class LeaseReaper {
  readonly #bus: RedisBus;
  readonly #work: LostWork;
  readonly #options: LeaseOptions & { timing: LeaseTiming };
  /** Since when a lease was seen missing. */
  readonly #missingSinceMs = new Map<string, number>();
  readonly #timer: NodeJS.Timeout;
  readonly #stopObserving: () => void;
  #trustFromMs: number;
  #checking: Promise<void> | undefined;

  constructor(bus: RedisBus, work: LostWork, options: LeaseOptions & { timing: LeaseTiming }) {
    this.#bus = bus;
    this.#work = work;
    this.#options = options;
    this.#timer = setInterval(() => this.#tick(), options.timing.checkMs).unref();
    this.#trustFromMs = Date.now() + options.timing.ttlMs;
    this.#stopObserving = bus.connection.observe(() => {
      // Leases also run out while Redis is away; owners get a whole lease's time to come back.
      this.#missingSinceMs.clear();
      this.#trustFromMs = Date.now() + options.timing.ttlMs;
    });
  }

  /** Waits for a report that is on its way. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#stopObserving();
    await this.#checking;
  }

  #tick(): void {
    if (this.#bus.state() !== 'ready' || Date.now() < this.#trustFromMs) {
      return;
    }
    this.#checking ??= this.#check()
      .catch((error: unknown) => {
        this.#options.logger.warn({ kind: this.#work.kind, reason: messageOf(error) }, 'leases not checked');
      })
      .finally(() => {
        this.#checking = undefined;
      });
  }

  async #check(): Promise<void> {
    const { connection } = this.#bus;
    const { kind } = this.#work;
    const [[seconds, microseconds], leased] = await connection.run((redis) =>
      Promise.all([redis.time(), redis.zrange(leasedIds(kind), 0, '-1', 'WITHSCORES')]),
    );
    const redisNowMs = Number(seconds) * 1000 + Number(microseconds) / 1000;
    const lastSignMs = new Map<string, number>();
    for (let index = 0; index + 1 < leased.length; index += 2) {
      lastSignMs.set(leased[index] ?? '', Number(leased[index + 1]));
    }
    const ids = [...lastSignMs.keys()];
    const owners =
      ids.length === 0
        ? []
        : await connection.run((redis) => redis.mget(ids.map((id) => leaseKey(kind, id))));
    const overdue = this.#confirm(ids.filter((_id, index) => owners[index] === null));
    await Promise.all(overdue.map((id) => this.#reap(id, redisNowMs - (lastSignMs.get(id) ?? redisNowMs))));
  }

  /** Those that have been missing for long enough. */
  #confirm(missing: string[]): string[] {
    const nowMs = Date.now();
    for (const id of this.#missingSinceMs.keys()) {
      if (!missing.includes(id)) {
        this.#missingSinceMs.delete(id);
      }
    }
    return missing.filter((id) => {
      const sinceMs = this.#missingSinceMs.get(id) ?? nowMs;
      this.#missingSinceMs.set(id, sinceMs);
      return nowMs - sinceMs >= this.#options.timing.confirmMs;
    });
  }

  async #reap(id: string, silentMs: number): Promise<void> {
    const { nodeId, logger } = this.#options;
    const { connection } = this.#bus;
    const { kind } = this.#work;
    const lock = `${leaseKey(kind, id)}:reaper`;
    const outcome = await connection.run((redis) =>
      redis.eval(LOCK, 2, leaseKey(kind, id), lock, nodeId, LOCK_MS),
    );
    if (outcome !== 1) {
      return;
    }
    try {
      const isStillLost = async (): Promise<boolean> =>
        (await connection.run((redis) => redis.exists(leaseKey(kind, id)))) === 0;
      if (await this.#work.report(this.#bus, { id, silentMs, isStillLost })) {
        logger.warn({ kind, id, silentMs }, 'node lost, its work reported as failed');
      }
      // Whoever has taken it up meanwhile keeps it.
      await connection.run((redis) => redis.eval(FORGET, 2, leaseKey(kind, id), leasedIds(kind), id));
      this.#missingSinceMs.delete(id);
    } catch (error) {
      logger.warn({ kind, id, reason: messageOf(error) }, 'work of a lost node not reported yet');
    } finally {
      await connection.run((redis) => redis.del(lock)).catch(() => undefined);
    }
  }
}
