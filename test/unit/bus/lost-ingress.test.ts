import { IngressInfo, IngressInput, IngressState, IngressState_Status } from '@livekit/protocol';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { serveIoInfo } from '../../../services/api/io-info.ts';
import { createLogger } from '../../../services/base/logger.ts';
import type { Bus, Unregister } from '../../../services/bus/bus.ts';
import { MemoryEgressStore } from '../../../services/bus/egress-store.ts';
import { MemoryIngressStore, type IngressStore } from '../../../services/bus/ingress-store.ts';
import { createLeases, startLeaseReaper } from '../../../services/bus/leases.ts';
import { LOST_INGRESS } from '../../../services/bus/lost-ingress.ts';
import { MemoryBus } from '../../../services/bus/memory-bus.ts';
import { connectRedisBus, type RedisBus } from '../../../services/bus/redis-bus.ts';
import { RedisIngressStore } from '../../../services/bus/redis-ingress-store.ts';
import { IOInfo, RoomInternal } from '../../../services/bus/rpc-methods.ts';
import { relayRoomName } from '../../../services/model/room.ts';
import { startRedis, type RedisServer } from '../../support/redis-server.ts';
import { silentWebhooks } from '../../support/webhooks.ts';

const { ENDPOINT_BUFFERING, ENDPOINT_ERROR, ENDPOINT_INACTIVE, ENDPOINT_PUBLISHING } = IngressState_Status;
const LOST = /^ingress node lost: no sign of life for \d+ s$/;
const logger = createLogger({ level: 'silent' });
/** The real proportions, ten times as fast. */
const timing = { ttlMs: 500, refreshMs: 200, checkMs: 100, confirmMs: 150 };

let redis: RedisServer;
let bus: Bus;
let store: IngressStore;
/** [event, session, status] of every webhook. */
let told: unknown[];
const cleanUps: (() => Promise<unknown>)[] = [];

beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.close());
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) {
    await cleanUp();
  }
});

async function connect(): Promise<RedisBus> {
  const connected = await connectRedisBus({ redis: { address: redis.address }, logger });
  cleanUps.push(() => connected.close());
  return connected;
}

/** The API's side. */
async function serve(
  records: { bus: Bus; store: IngressStore },
  info: Partial<IngressInfo> = {},
): Promise<void> {
  ({ bus, store } = records);
  const webhooks = silentWebhooks();
  told = [];
  vi.spyOn(webhooks, 'notify').mockImplementation(({ event, ingressInfo }) => {
    told.push([event, ingressInfo?.state?.resourceId, ingressInfo?.state?.status]);
  });
  const egressStore = new MemoryEgressStore();
  cleanUps.push(await serveIoInfo({ bus, egressStore, ingressStore: store, webhooks, logger }));
  await store.put(
    new IngressInfo({ ingressId: 'IN_1', roomName: 'studio', participantIdentity: 'obs', ...info }),
  );
}

async function report(resourceId: string, status: IngressState_Status, startedAt: bigint): Promise<void> {
  const state = new IngressState({ resourceId, status, startedAt, updatedAt: startedAt + 1n });
  await bus.request(IOInfo.updateIngressState, { ingressId: 'IN_1', state });
}

const stored = async (): Promise<IngressState | undefined> => (await store.get('IN_1'))?.state;
const isLost = (): Promise<boolean> => Promise.resolve(true);
const lost = { id: 'IN_1', silentMs: 5_000, isStillLost: isLost };

/** What a room's server would be asked to end. */
async function room(resourceId: string): Promise<string[]> {
  const ended: string[] = [];
  const served = await Promise.all([
    bus.serve(RoomInternal.getParticipant, ({ identity }) =>
      Promise.resolve({ identity, attributes: { 'ingress.resourceID': resourceId } }),
    ),
    bus.serve(RoomInternal.removeParticipant, (request) => {
      ended.push(`${request.room}/${request.identity}`);
      return Promise.resolve({});
    }),
    bus.serve(RoomInternal.deleteRoom, (request) => {
      ended.push(request.room);
      return Promise.resolve({});
    }),
  ]);
  cleanUps.push(() => Promise.all(served.map((unregister: Unregister) => unregister())));
  return ended;
}

describe.each<[string, () => Promise<{ bus: Bus; store: IngressStore }>]>([
  ['memory', () => Promise.resolve({ bus: new MemoryBus(), store: new MemoryIngressStore() })],
  [
    'redis',
    async () => {
      const connected = await connect();
      await connected.connection.run((client) => client.flushall());
      return { bus: connected, store: new RedisIngressStore(connected.connection, logger) };
    },
  ],
])('an ingress session whose node is gone, on %s records', (_name, create) => {
  it('is in ERROR with the reason, ended once, and out of its room', async () => {
    await serve(await create());
    const ended = await room('RT_a');
    await report('RT_a', ENDPOINT_PUBLISHING, 1n);
    expect(await LOST_INGRESS.report(bus, lost)).toBe(true);
    const state = await stored();
    expect(state).toMatchObject({ status: ENDPOINT_ERROR, resourceId: 'RT_a', startedAt: 1n });
    expect(state?.error).toMatch(LOST);
    expect(state?.endedAt).toBeGreaterThan(1n);
    expect(ended).toEqual(['studio/obs']);
    expect(await LOST_INGRESS.report(bus, lost)).toBe(false);
    expect(told).toEqual([
      ['ingress_started', 'RT_a', ENDPOINT_PUBLISHING],
      ['ingress_ended', 'RT_a', ENDPOINT_ERROR],
    ]);
  });

  it('takes its relay room along', async () => {
    await serve(await create(), { inputType: IngressInput.WHIP_INPUT, enableTranscoding: true });
    const ended = await room('WH_a');
    await report('WH_a', ENDPOINT_BUFFERING, 1n);
    expect(await LOST_INGRESS.report(bus, lost)).toBe(true);
    expect(ended).toEqual([relayRoomName('WH_a'), 'studio/obs']);
    expect(told).toEqual([['ingress_ended', 'WH_a', ENDPOINT_ERROR]]);
  });

  it('needs no rooms: LiveKit’s server keeps its own', async () => {
    await serve(await create());
    await report('RT_a', ENDPOINT_PUBLISHING, 1n);
    expect(await LOST_INGRESS.report(bus, lost)).toBe(true);
    expect((await stored())?.status).toBe(ENDPOINT_ERROR);
  });

  it('is not mistaken for the session the encoder has at another node, and has its end all the same', async () => {
    await serve(await create());
    const ended = await room('RT_b');
    await report('RT_a', ENDPOINT_PUBLISHING, 1n);
    await report('RT_b', ENDPOINT_BUFFERING, 5n);
    await report('RT_b', ENDPOINT_PUBLISHING, 5n);
    expect(await LOST_INGRESS.report(bus, { ...lost, isStillLost: () => Promise.resolve(false) })).toBe(
      false,
    );
    // What the first node still has to say comes too late.
    await report('RT_a', ENDPOINT_ERROR, 1n);
    expect(await stored()).toMatchObject({ status: ENDPOINT_PUBLISHING, resourceId: 'RT_b' });
    expect(ended).toEqual([]);
    await report('RT_b', ENDPOINT_INACTIVE, 5n);
    expect(told).toEqual([
      ['ingress_started', 'RT_a', ENDPOINT_PUBLISHING],
      ['ingress_ended', 'RT_a', ENDPOINT_ERROR],
      ['ingress_started', 'RT_b', ENDPOINT_PUBLISHING],
      ['ingress_ended', 'RT_b', ENDPOINT_INACTIVE],
    ]);
  });

  it('is left alone when it had ended, or when its endpoint is gone', async () => {
    await serve(await create());
    await report('RT_a', ENDPOINT_PUBLISHING, 1n);
    await report('RT_a', ENDPOINT_INACTIVE, 1n);
    expect(await LOST_INGRESS.report(bus, lost)).toBe(false);
    expect((await stored())?.status).toBe(ENDPOINT_INACTIVE);
    await store.delete('IN_1');
    expect(await LOST_INGRESS.report(bus, lost)).toBe(false);
  });
});

describe('the lease of an ingress session', () => {
  let records: RedisBus;
  let crash: () => Promise<void>;
  let release: Unregister;

  beforeEach(async () => {
    records = await connect();
    await records.connection.run((client) => client.flushall());
    await serve({ bus: records, store: new RedisIngressStore(records.connection, logger) });
    const node = await connect();
    const leases = createLeases(node, 'ingress', { nodeId: 'ND_a', logger, timing });
    release = await leases.hold('IN_1');
    crash = () => leases.close();
    await report('RT_a', ENDPOINT_PUBLISHING, 1n);
  });

  async function reap(count: number): Promise<void> {
    for (let index = 0; index < count; index += 1) {
      const reaper = startLeaseReaper(await connect(), { nodeId: `ND_${index}`, logger, timing });
      cleanUps.push(() => reaper.close());
    }
  }

  it('runs out with its node, and one of all others reports it once', async () => {
    await reap(3);
    await crash();
    await expect.poll(async () => (await stored())?.status, { timeout: 10_000 }).toBe(ENDPOINT_ERROR);
    await expect.poll(leased, { timeout: 10_000 }).toEqual([]);
    expect(told).toHaveLength(2);
  });

  it('goes over to the next node with the encoder, whatever the first one gives back late', async () => {
    const next = createLeases(await connect(), 'ingress', { nodeId: 'ND_b', logger, timing });
    cleanUps.push(() => next.close());
    await next.hold('IN_1');
    await report('RT_b', ENDPOINT_PUBLISHING, 5n);
    await release();
    await crash();
    await reap(1);
    expect(await leased()).toEqual(['IN_1']);
    // Longer than the first node's lease lives, and a few looks of the reaper.
    await new Promise((resolve) => setTimeout(resolve, 3 * timing.ttlMs));
    expect(await stored()).toMatchObject({ status: ENDPOINT_PUBLISHING, resourceId: 'RT_b' });
  });

  it('of a session that has ended does not take along the one that began meanwhile on the same node', async () => {
    const leases = createLeases(await connect(), 'ingress', { nodeId: 'ND_c', logger, timing });
    cleanUps.push(() => leases.close());
    const first = await leases.hold('IN_2');
    const second = await leases.hold('IN_2');
    await first();
    expect(await leased()).toContain('IN_2');
    await second();
    expect(await leased()).not.toContain('IN_2');
  });

  const leased = (): Promise<string[]> =>
    records.connection.run((client) => client.zrange('sluice:leases:ingress', 0, '-1'));
});
