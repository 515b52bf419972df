import { EgressStatus, type EgressInfo } from '@livekit/protocol';
import { unixNs } from '../base/clock.ts';
import { HTTP_STATUS_BY_CODE, messageOf, ServiceError } from '../base/errors.ts';
import { isEnded } from './egress-store.ts';
import type { LeaseOptions, LeaseTiming } from './leases.ts';
import type { RedisBus } from './redis-bus.ts';
import { LEASED_JOBS, leaseKey } from './redis-leases.ts';
import { IOInfo } from './rpc-methods.ts';

/** As long as reporting may take; a reaper that dies in between leaves the job to the next one. */
const LOCK_MS = 10_000;
const REPORT_TIMEOUT_MS = 5_000;

/** KEYS lease, reaper's lock; ARGV node id, lock time in ms. 1 = this one reaps, 0 = another does, -1 = alive again. */
const LOCK = `
if redis.call('EXISTS', KEYS[1]) == 1 then return -1 end
if redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2], 'NX') then return 1 end
return 0`;

/** Looks for leased jobs whose lease ran out and reports them as failed. */
export class LeaseReaper {
  readonly #bus: RedisBus;
  readonly #options: LeaseOptions & { timing: LeaseTiming };
  /** Since when a lease was seen missing. */
  readonly #missingSinceMs = new Map<string, number>();
  readonly #timer: NodeJS.Timeout;
  readonly #stopObserving: () => void;
  #trustFromMs: number;
  #checking: Promise<void> | undefined;

  constructor(bus: RedisBus, options: LeaseOptions & { timing: LeaseTiming }) {
    this.#bus = bus;
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
        this.#options.logger.warn({ reason: messageOf(error) }, 'egress leases not checked');
      })
      .finally(() => {
        this.#checking = undefined;
      });
  }

  async #check(): Promise<void> {
    const { connection } = this.#bus;
    const [[seconds, microseconds], leased] = await connection.run((redis) =>
      Promise.all([redis.time(), redis.zrange(LEASED_JOBS, 0, '-1', 'WITHSCORES')]),
    );
    const redisNowMs = Number(seconds) * 1000 + Number(microseconds) / 1000;
    const lastSignMs = new Map<string, number>();
    for (let index = 0; index + 1 < leased.length; index += 2) {
      lastSignMs.set(leased[index] ?? '', Number(leased[index + 1]));
    }
    const ids = [...lastSignMs.keys()];
    const owners = ids.length === 0 ? [] : await connection.run((redis) => redis.mget(ids.map(leaseKey)));
    const overdue = this.#confirm(ids.filter((_id, index) => owners[index] === null));
    await Promise.all(overdue.map((id) => this.#reap(id, redisNowMs - (lastSignMs.get(id) ?? redisNowMs))));
  }

  /** Those that have been missing for long enough. */
  #confirm(missing: string[]): string[] {
    const nowMs = Date.now();
    for (const egressId of this.#missingSinceMs.keys()) {
      if (!missing.includes(egressId)) {
        this.#missingSinceMs.delete(egressId);
      }
    }
    return missing.filter((egressId) => {
      const sinceMs = this.#missingSinceMs.get(egressId) ?? nowMs;
      this.#missingSinceMs.set(egressId, sinceMs);
      return nowMs - sinceMs >= this.#options.timing.confirmMs;
    });
  }

  async #reap(egressId: string, silentMs: number): Promise<void> {
    const { nodeId, logger } = this.#options;
    const { connection } = this.#bus;
    const lock = `${leaseKey(egressId)}:reaper`;
    const outcome = await connection.run((redis) =>
      redis.eval(LOCK, 2, leaseKey(egressId), lock, nodeId, LOCK_MS),
    );
    if (outcome !== 1) {
      return;
    }
    try {
      const info = await this.#load(egressId);
      if (info !== undefined && !isEnded(info.status)) {
        await this.#bus.request(IOInfo.updateEgress, failed(info, silentMs), {
          timeoutMs: REPORT_TIMEOUT_MS,
        });
        logger.warn({ egressId, silentMs }, 'egress node lost, job reported as failed');
      }
      await connection.run((redis) => redis.zrem(LEASED_JOBS, egressId));
      this.#missingSinceMs.delete(egressId);
    } catch (error) {
      logger.warn({ egressId, reason: messageOf(error) }, 'lost egress job not reported yet');
    } finally {
      await connection.run((redis) => redis.del(lock)).catch(() => undefined);
    }
  }

  async #load(egressId: string): Promise<EgressInfo | undefined> {
    try {
      return await this.#bus.request(IOInfo.getEgress, { egressId }, { timeoutMs: REPORT_TIMEOUT_MS });
    } catch (error) {
      if (error instanceof ServiceError && error.code === 'not_found') {
        return undefined;
      }
      throw error;
    }
  }
}

function failed(info: EgressInfo, silentMs: number): EgressInfo {
  const update = info.clone();
  const now = unixNs();
  update.status = EgressStatus.EGRESS_FAILED;
  update.error = `egress node lost: no sign of life for ${Math.round(silentMs / 1000)} s`;
  update.errorCode = HTTP_STATUS_BY_CODE.unavailable;
  update.details = 'End reason: Failure';
  // The lost node's clock may have run ahead of this one's.
  update.updatedAt = now > info.updatedAt ? now : info.updatedAt + 1n;
  update.endedAt = update.updatedAt;
  return update;
}
