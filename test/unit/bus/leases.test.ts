import { EgressInfo, EgressStatus } from '@livekit/protocol';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { ServiceError } from '../../../services/base/errors.ts';
import { createLogger } from '../../../services/base/logger.ts';
import { createLeases, LEASE_TIMING, startLeaseReaper } from '../../../services/bus/leases.ts';
import { MemoryBus } from '../../../services/bus/memory-bus.ts';
import { connectRedisBus, type RedisBus } from '../../../services/bus/redis-bus.ts';
import { RedisEgressStore } from '../../../services/bus/redis-egress-store.ts';
import { IOInfo } from '../../../services/bus/rpc-methods.ts';
import { startRedis, type RedisServer } from '../../support/redis-server.ts';

const logger = createLogger({ level: 'silent' });
/** The real proportions, ten times as fast. */
const timing = { ttlMs: 500, refreshMs: 200, checkMs: 100, confirmMs: 150 };

let redis: RedisServer;
let raw: Redis;
let api: RedisBus;
let store: RedisEgressStore;
let updates: EgressInfo[];
const cleanUps: (() => Promise<unknown>)[] = [];

beforeAll(async () => {
  redis = await startRedis({ isPersistent: true });
});
afterAll(() => redis.close());
beforeEach(async () => {
  raw = new Redis(redis.port);
  raw.on('error', () => undefined);
  await raw.flushall();
  api = await connect();
  store = new RedisEgressStore(api.connection, logger);
  updates = [];
  await api.serve(IOInfo.updateEgress, async (info) => {
    updates.push(info);
    await store.put(info);
    return {};
  });
  await api.serve(IOInfo.getEgress, async ({ egressId }) => {
    const info = await store.get(egressId);
    if (info === undefined) {
      throw new ServiceError('not_found', 'egress does not exist');
    }
    return info;
  });
});
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) {
    await cleanUp();
  }
  await store.close();
  raw.disconnect();
});

async function connect(): Promise<RedisBus> {
  const bus = await connectRedisBus({ redis: { address: redis.address }, logger });
  cleanUps.push(() => bus.close());
  return bus;
}

/** A node with a job; closing it is what a crash looks like to the others: the signs of life stop. */
async function nodeWithJob(
  egressId: string,
  status = EgressStatus.EGRESS_ACTIVE,
): Promise<() => Promise<void>> {
  await store.put(new EgressInfo({ egressId, roomName: 'studio', status, startedAt: 1n, updatedAt: 1n }));
  const bus = await connect();
  const leases = createLeases(bus, 'egress', { nodeId: `ND_${egressId}`, logger, timing });
  await leases.hold(egressId);
  return async () => {
    await leases.close();
    await bus.close();
  };
}

function reap(bus: RedisBus, nodeId = 'ND_api'): void {
  const reaper = startLeaseReaper(bus, { nodeId, logger, timing });
  cleanUps.push(() => reaper.close());
}

it('reports the jobs of a node that is gone as failed, once, whoever else looks', async () => {
  const jobs = ['EG_starting', 'EG_active', 'EG_ending'];
  const crash = await Promise.all([
    nodeWithJob('EG_starting', EgressStatus.EGRESS_STARTING),
    nodeWithJob('EG_active'),
    nodeWithJob('EG_ending', EgressStatus.EGRESS_ENDING),
  ]);
  const survivor = await nodeWithJob('EG_survivor');
  cleanUps.push(survivor);
  for (let count = 0; count < 4; count += 1) {
    reap(await connect(), `ND_${count}`);
  }
  await Promise.all(crash.map((end) => end()));
  await expect
    .poll(() => updates.map((info) => info.egressId).sort(), { timeout: 15_000 })
    .toEqual(jobs.sort());
  for (const update of updates) {
    expect(update).toMatchObject({ status: EgressStatus.EGRESS_FAILED, errorCode: 503, roomName: 'studio' });
    expect(update.error).toMatch(/^egress node lost: no sign of life for \d+ s$/);
    expect(update.endedAt).toBeGreaterThan(1n);
  }
  await expect
    .poll(() => raw.zrange('sluice:leases:egress', 0, '-1'), { timeout: 15_000 })
    .toEqual(['EG_survivor']);
  expect((await store.get('EG_survivor'))?.status).toBe(EgressStatus.EGRESS_ACTIVE);
  expect(updates).toHaveLength(3);
});

it('leaves alone what ended, what was released, and the jobs of LiveKit’s own workers', async () => {
  await (
    await nodeWithJob('EG_done', EgressStatus.EGRESS_COMPLETE)
  )();
  await store.put(new EgressInfo({ egressId: 'EG_go', status: EgressStatus.EGRESS_ACTIVE }));
  const leases = createLeases(await connect(), 'egress', { nodeId: 'ND_1', logger, timing });
  await (
    await leases.hold('EG_released')
  )();
  // Held before its record was created, and gone.
  await leases.hold('EG_unknown');
  await leases.close();
  reap(api);
  await expect.poll(() => raw.zcard('sluice:leases:egress'), { timeout: 15_000 }).toBe(0);
  expect(updates).toEqual([]);
  expect((await store.get('EG_go'))?.status).toBe(EgressStatus.EGRESS_ACTIVE);
});

it('waits with the report until somebody takes it', async () => {
  const crash = await nodeWithJob('EG_1');
  const lonely = await connect();
  await api.close();
  reap(lonely);
  await crash();
  await expect.poll(() => raw.exists('sluice:lease:egress:EG_1'), { timeout: 15_000 }).toBe(0);
  const late = await connect();
  const taken: EgressInfo[] = [];
  await late.serve(IOInfo.getEgress, () =>
    Promise.resolve({ egressId: 'EG_1', status: EgressStatus.EGRESS_ACTIVE }),
  );
  await late.serve(IOInfo.updateEgress, (info) => {
    taken.push(info);
    return Promise.resolve({});
  });
  await expect.poll(() => taken.map((info) => info.egressId), { timeout: 15_000 }).toEqual(['EG_1']);
});

it('does not take the absence of Redis for the absence of nodes', async () => {
  const end = await nodeWithJob('EG_1');
  cleanUps.push(end);
  reap(api);
  await redis.kill();
  // Longer than a lease lives.
  await new Promise((resolve) => setTimeout(resolve, timing.ttlMs * 2));
  await redis.restart();
  await expect.poll(() => api.state(), { timeout: 15_000 }).toBe('ready');
  await expect.poll(() => raw.exists('sluice:lease:egress:EG_1'), { timeout: 15_000 }).toBe(1);
  // The reaper has looked several times by then.
  await new Promise((resolve) => setTimeout(resolve, timing.ttlMs + timing.confirmMs + 4 * timing.checkMs));
  expect(updates).toEqual([]);
});

it('refuses a job while there is no Redis to miss it', async () => {
  const bus = await connect();
  const leases = createLeases(bus, 'egress', { nodeId: 'ND_1', logger, timing });
  await bus.close();
  await expect(leases.hold('EG_1')).rejects.toMatchObject({ code: 'unavailable' });
});

it('costs nothing in one process', async () => {
  const bus = new MemoryBus();
  const leases = createLeases(bus, 'egress', { nodeId: 'ND_1', logger });
  await (
    await leases.hold('EG_1')
  )();
  await leases.close();
  await startLeaseReaper(bus, { nodeId: 'ND_1', logger }).close();
});

it('notices a lost node within ten seconds', () => {
  const { ttlMs, checkMs, confirmMs } = LEASE_TIMING;
  // Expiry, then the check that sees it, then those until it is confirmed.
  const worstMs = ttlMs + checkMs + Math.ceil(confirmMs / checkMs) * checkMs;
  expect(worstMs).toBeLessThan(10_000);
});
