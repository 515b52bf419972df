import { EgressInfo, EgressStatus, IngressInfo, IngressState, IngressState_Status } from '@livekit/protocol';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createLogger } from '../../../services/base/logger.ts';
import {
  ENDED_EGRESS_TTL_MS,
  isEnded,
  MemoryEgressStore,
  type EgressStore,
} from '../../../services/bus/egress-store.ts';
import { MemoryIngressStore, type IngressStore } from '../../../services/bus/ingress-store.ts';
import { connectRedisBus, type RedisBus } from '../../../services/bus/redis-bus.ts';
import { RedisEgressStore } from '../../../services/bus/redis-egress-store.ts';
import { RedisIngressStore } from '../../../services/bus/redis-ingress-store.ts';
import { startRedis, type RedisServer } from '../../support/redis-server.ts';
import { SeededRandom } from '../../support/seeded-random.ts';

const logger = createLogger({ level: 'silent' });
let redis: RedisServer;
let bus: RedisBus;
/** What LiveKit's server would see. */
let raw: Redis;
beforeAll(async () => {
  redis = await startRedis();
  bus = await connectRedisBus({ redis: { address: redis.address }, logger });
  raw = new Redis(redis.port);
});
beforeEach(() => raw.flushall());
afterAll(async () => {
  raw.disconnect();
  await bus.close();
  await redis.close();
});

type Swept = EgressStore & { sweep?: () => Promise<void>; close?: () => Promise<void> };
const STATUSES = [
  EgressStatus.EGRESS_STARTING,
  EgressStatus.EGRESS_ACTIVE,
  EgressStatus.EGRESS_ENDING,
  EgressStatus.EGRESS_COMPLETE,
  EgressStatus.EGRESS_FAILED,
];
const EGRESS_STORES: readonly [string, (nowMs?: () => number) => Swept][] = [
  ['memory', (nowMs) => new MemoryEgressStore(nowMs)],
  ['redis', (nowMs) => new RedisEgressStore(bus.connection, logger, nowMs)],
];
const INGRESS_STORES: readonly [string, () => IngressStore][] = [
  ['memory', () => new MemoryIngressStore()],
  ['redis', () => new RedisIngressStore(bus.connection, logger)],
];

describe.each(EGRESS_STORES)('%s egress store', (name, create) => {
  const open: Swept[] = [];
  const store = (nowMs?: () => number): Swept => {
    const created = create(nowMs);
    open.push(created);
    return created;
  };
  afterEach(async () => {
    for (const one of open.splice(0)) {
      await one.close?.();
    }
  });

  it('forgets ended jobs a day after they ended, and running ones never', async () => {
    let nowMs = 1_000_000;
    const records = store(() => nowMs);
    const put = (egressId: string, status: EgressStatus, startedAt: bigint): Promise<boolean> =>
      records.put(new EgressInfo({ egressId, status, startedAt, roomName: 'a|b|1' }));
    await put('EG_run', EgressStatus.EGRESS_ACTIVE, 1n);
    await put('EG_end', EgressStatus.EGRESS_FAILED, 2n);
    nowMs += ENDED_EGRESS_TTL_MS;
    await records.sweep?.();
    const ids = async (): Promise<string[]> => (await records.list({})).map((info) => info.egressId);
    expect(await ids()).toEqual(['EG_end', 'EG_run']);
    nowMs += 1;
    await records.sweep?.();
    expect(await ids()).toEqual(['EG_run']);
    expect((await records.list({ roomName: 'a|b|1' })).map((info) => info.egressId)).toEqual(['EG_run']);
  });

  it('filters by room, id and activity, and hands out copies', async () => {
    const records = store();
    const jobs: [string, string, EgressStatus][] = [
      ['EG_1', 'a', EgressStatus.EGRESS_ACTIVE],
      ['EG_2', 'a', EgressStatus.EGRESS_ABORTED],
      ['EG_3', 'b', EgressStatus.EGRESS_STARTING],
    ];
    for (const [egressId, roomName, status] of jobs) {
      await records.put(new EgressInfo({ egressId, roomName, status }));
    }
    const ids = async (filter: object): Promise<string[]> =>
      (await records.list(filter)).map((info) => info.egressId).sort();
    expect(await ids({ roomName: 'a' })).toEqual(['EG_1', 'EG_2']);
    expect(await ids({ active: true })).toEqual(['EG_1', 'EG_3']);
    expect(await ids({ egressId: 'EG_3', roomName: 'a' })).toEqual([]);
    expect(await ids({ roomName: 'nobody' })).toEqual([]);
    const copy = await records.get('EG_1');
    (copy ?? new EgressInfo()).roomName = 'changed';
    expect((await records.get('EG_1'))?.roomName).toBe('a');
    expect(await records.get('EG_9')).toBeUndefined();
  });

  it('takes the later status of two updates with the same time', async () => {
    const records = store();
    const put = (status: EgressStatus): Promise<boolean> =>
      records.put(new EgressInfo({ egressId: 'EG_1', status, updatedAt: 5n }));
    expect(await put(EgressStatus.EGRESS_ACTIVE)).toBe(true);
    expect(await put(EgressStatus.EGRESS_STARTING)).toBe(false);
    expect(await put(EgressStatus.EGRESS_COMPLETE)).toBe(true);
  });

  it.each([1, 2, 3, 4, 5])(
    'ends with the newest word, whoever writes at the same time (seed %i)',
    async (seed) => {
      const random = new SeededRandom(seed);
      const updates = Array.from(
        { length: 24 },
        () =>
          new EgressInfo({
            egressId: 'EG_1',
            roomName: 'a',
            status: STATUSES[random.int(STATUSES.length)] ?? EgressStatus.EGRESS_STARTING,
            updatedAt: BigInt(random.int(12)),
          }),
      );
      const nodes = name === 'memory' ? [store()] : [store(), store(), store()];
      await Promise.all(updates.map(async (update, index) => nodes[index % nodes.length]?.put(update)));
      const last = await nodes[0]?.get('EG_1');
      const ended = updates.filter((update) => isEnded(update.status));
      const newest = (ended.length > 0 ? ended : updates).reduce((a, b) =>
        b.updatedAt > a.updatedAt ? b : a,
      );
      // Ended jobs stay ended; among the ended (or else among all) nothing newer was lost.
      expect(isEnded(last?.status ?? EgressStatus.EGRESS_STARTING)).toBe(ended.length > 0);
      expect(last?.updatedAt).toBeGreaterThanOrEqual(newest.updatedAt);
    },
  );
});

describe.each(INGRESS_STORES)('%s ingress store', (_name, create) => {
  it('lets a newer session win over late words of an older one', async () => {
    const store = create();
    await store.put(new IngressInfo({ ingressId: 'IN_1', streamKey: 'key' }));
    const report = (startedAt: bigint, updatedAt: bigint, status: IngressState_Status): Promise<string> =>
      store.updateState('IN_1', new IngressState({ startedAt, updatedAt, status }));
    expect(await report(10n, 10n, IngressState_Status.ENDPOINT_PUBLISHING)).toBe('stored');
    expect(await report(20n, 20n, IngressState_Status.ENDPOINT_BUFFERING)).toBe('stored');
    expect(await report(10n, 99n, IngressState_Status.ENDPOINT_ERROR)).toBe('stale');
    expect(await report(20n, 19n, IngressState_Status.ENDPOINT_ERROR)).toBe('stale');
    expect((await store.getByStreamKey('key'))?.state?.status).toBe(IngressState_Status.ENDPOINT_BUFFERING);
  });

  it('forgets the stream key with the endpoint', async () => {
    const store = create();
    await store.put(new IngressInfo({ ingressId: 'IN_1', streamKey: 'key' }));
    await store.delete('IN_1');
    expect(await store.getByStreamKey('key')).toBeUndefined();
    expect(await store.updateState('IN_1', new IngressState())).toBe('missing');
    await store.delete('IN_1');
  });

  it('keeps the state of a live session when somebody writes an old one with the configuration', async () => {
    const store = create();
    const { ENDPOINT_PUBLISHING, ENDPOINT_ERROR, ENDPOINT_INACTIVE } = IngressState_Status;
    await store.put(new IngressInfo({ ingressId: 'IN_1', streamKey: 'key', state: {} }));
    await store.updateState('IN_1', new IngressState({ startedAt: 5n, status: ENDPOINT_PUBLISHING }));
    await store.put(new IngressInfo({ ingressId: 'IN_1', streamKey: 'key', name: 'new', state: {} }));
    const after = await store.get('IN_1');
    expect([after?.name, after?.state?.status]).toEqual(['new', ENDPOINT_PUBLISHING]);
    await store.updateState(
      'IN_1',
      new IngressState({ startedAt: 5n, updatedAt: 6n, status: ENDPOINT_ERROR }),
    );
    await store.put(new IngressInfo({ ingressId: 'IN_1', streamKey: 'key', state: {} }));
    expect((await store.get('IN_1'))?.state?.status).toBe(ENDPOINT_INACTIVE);
  });

  it('moves between rooms and stream keys', async () => {
    const store = create();
    await store.put(new IngressInfo({ ingressId: 'IN_1', streamKey: 'old', roomName: 'a' }));
    await store.put(new IngressInfo({ ingressId: 'IN_2', streamKey: 'other', roomName: 'a' }));
    await store.put(new IngressInfo({ ingressId: 'IN_1', streamKey: 'new', roomName: 'b' }));
    const ids = async (roomName?: string): Promise<string[]> =>
      (await store.list(roomName)).map((info) => info.ingressId);
    expect(await ids('a')).toEqual(['IN_2']);
    expect(await ids('b')).toEqual(['IN_1']);
    expect((await ids()).sort()).toEqual(['IN_1', 'IN_2']);
    expect(await store.getByStreamKey('old')).toBeUndefined();
    expect((await store.getByStreamKey('new'))?.ingressId).toBe('IN_1');
  });
});

describe('what LiveKit’s server sees in Redis', () => {
  it('egress jobs: a hash, a set per room, and when they ended', async () => {
    const store = new RedisEgressStore(bus.connection, logger);
    const info = new EgressInfo({
      egressId: 'EG_1',
      roomName: 'my|room',
      status: EgressStatus.EGRESS_ACTIVE,
    });
    await store.put(info);
    expect(EgressInfo.fromBinary((await raw.hgetBuffer('egress', 'EG_1')) ?? Buffer.from('x'))).toEqual(info);
    expect(await raw.smembers('egress:room:my|room')).toEqual(['EG_1']);
    expect(await raw.hgetall('ended_egress')).toEqual({});
    await store.put(
      new EgressInfo({
        egressId: 'EG_1',
        roomName: 'my|room',
        status: EgressStatus.EGRESS_COMPLETE,
        endedAt: 77n,
        updatedAt: 1n,
      }),
    );
    expect(await raw.hgetall('ended_egress')).toEqual({ EG_1: 'my|room|77' });
    await store.sweep();
    expect(await raw.keys('*')).toEqual([]);
    await store.close();
  });

  it('and what it wrote itself is read, broken records aside', async () => {
    const store = new RedisEgressStore(bus.connection, logger);
    const theirs = new EgressInfo({ egressId: 'EG_go', roomName: 'a', status: EgressStatus.EGRESS_ENDING });
    await raw.hset('egress', 'EG_go', Buffer.from(theirs.toBinary()));
    await raw.hset('egress', 'EG_broken', Buffer.from('\xff\xff', 'latin1'));
    await raw.sadd('egress:room:a', 'EG_go', 'EG_gone');
    expect((await store.list({})).map((info) => info.egressId)).toEqual(['EG_go']);
    expect((await store.list({ roomName: 'a' })).map((info) => info.egressId)).toEqual(['EG_go']);
    expect(await store.put(new EgressInfo({ egressId: 'EG_broken', roomName: 'a' }))).toBe(true);
    await store.close();
  });

  it('ingress: the configuration without state, its stream key, its state, its room', async () => {
    const store = new RedisIngressStore(bus.connection, logger);
    const state = new IngressState({ startedAt: 3n, status: IngressState_Status.ENDPOINT_BUFFERING });
    await store.put(new IngressInfo({ ingressId: 'IN_1', streamKey: 'key', roomName: 'a', state }));
    const stored = IngressInfo.fromBinary((await raw.hgetBuffer('ingress', 'IN_1')) ?? Buffer.from('x'));
    expect(stored).toEqual(new IngressInfo({ ingressId: 'IN_1', streamKey: 'key', roomName: 'a' }));
    expect(await raw.hgetall('{ingress}_stream_key')).toEqual({ key: 'IN_1' });
    expect(
      IngressState.fromBinary((await raw.getBuffer('{ingress}_state:IN_1')) ?? Buffer.from('x')),
    ).toEqual(state);
    expect(await raw.smembers('room_{ingress}:a')).toEqual(['IN_1']);
    await store.delete('IN_1');
    expect(await raw.keys('*')).toEqual([]);
  });

  it('a state that comes while the endpoint is deleted does not bring it back', async () => {
    const store = new RedisIngressStore(bus.connection, logger);
    await store.put(new IngressInfo({ ingressId: 'IN_1', streamKey: 'key' }));
    const results = await Promise.all([
      store.updateState('IN_1', new IngressState({ startedAt: 1n })),
      store.delete('IN_1'),
      store.updateState('IN_1', new IngressState({ startedAt: 2n })),
    ]);
    expect(results[0]).toMatch(/stored|missing/);
    expect(await raw.keys('*')).toEqual([]);
  });
});
