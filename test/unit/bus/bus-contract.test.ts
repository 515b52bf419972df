import { ListRoomsResponse, Room, SendDataRequest } from '@livekit/protocol';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ServiceError } from '../../../services/base/errors.ts';
import { createLogger } from '../../../services/base/logger.ts';
import type { Bus } from '../../../services/bus/bus.ts';
import { MemoryBus } from '../../../services/bus/memory-bus.ts';
import { connectRedisBus } from '../../../services/bus/redis-bus.ts';
import {
  EgressHandler,
  EgressInternal,
  IngressHandler,
  RoomInternal,
} from '../../../services/bus/rpc-methods.ts';
import { startRedis, type RedisServer } from '../../support/redis-server.ts';

/** Every bus implementation passes this. */
const IMPLEMENTATIONS: readonly [name: string, create: () => Promise<Bus>][] = [
  ['memory', () => Promise.resolve(new MemoryBus())],
  ['redis', () => connectRedisBus({ redis: { address: redis.address }, logger })],
];
let redis: RedisServer;
const logger = createLogger({ level: 'silent' });
const DATA = { channel: 'test_data', event: SendDataRequest };

beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.close());

describe.each(IMPLEMENTATIONS)('%s bus', (_name, create) => {
  let bus: Bus;
  beforeEach(async () => {
    bus = await create();
  });
  afterEach(() => bus.close());

  it('answers a request with what the server returned, as a message of its own', async () => {
    const kept = new ListRoomsResponse({ rooms: [{ name: 'a' }] });
    await bus.serve(RoomInternal.listRooms, () => Promise.resolve(kept));
    const answer = await bus.request(RoomInternal.listRooms, {});
    (answer.rooms[0] ?? new Room()).name = 'changed by the caller';
    expect(kept.rooms[0]?.name).toBe('a');
  });

  it('keeps code and text of a server’s error', async () => {
    await bus.serve(RoomInternal.deleteRoom, () =>
      Promise.reject(new ServiceError('not_found', 'requested room does not exist')),
    );
    await expect(bus.request(RoomInternal.deleteRoom, { room: 'x' })).rejects.toMatchObject({
      code: 'not_found',
      message: 'requested room does not exist',
    });
  });

  it('tells callers of an unexpected error only that it happened', async () => {
    await bus.serve(RoomInternal.deleteRoom, () => Promise.reject(new Error('detail nobody should see')));
    await expect(bus.request(RoomInternal.deleteRoom, { room: 'x' })).rejects.toMatchObject({
      code: 'internal',
      message: 'internal error',
    });
  });

  it('says "no response from servers" when nobody serves the method or the topic', async () => {
    const nobody = { code: 'unavailable', message: 'no response from servers' };
    await expect(bus.request(RoomInternal.listRooms, {})).rejects.toMatchObject(nobody);
    const stop = await bus.serve(RoomInternal.listRooms, () => Promise.resolve({}), { topic: 'a' });
    await expect(bus.request(RoomInternal.listRooms, {}, { topic: 'b' })).rejects.toMatchObject(nobody);
    await expect(bus.request(RoomInternal.listRooms, {}, { topic: 'a' })).resolves.toBeDefined();
    await stop();
    await expect(bus.request(RoomInternal.listRooms, {}, { topic: 'a' })).rejects.toMatchObject(nobody);
  });

  it('gives the request to the highest bidder and to nobody who declines', async () => {
    const serve = (egressId: string, affinity: number): Promise<unknown> =>
      bus.serve(EgressInternal.startEgress, () => Promise.resolve({ egressId }), {
        affinity: () => affinity,
      });
    await serve('declines', -1);
    await expect(bus.request(EgressInternal.startEgress, {})).rejects.toMatchObject({ code: 'unavailable' });
    await serve('idle', 0.5);
    await serve('busy', 1);
    expect((await bus.request(EgressInternal.startEgress, {})).egressId).toBe('busy');
  });

  it('gives up after the deadline, or when the caller does', async () => {
    await bus.serve(RoomInternal.listRooms, () => new Promise(() => undefined));
    await expect(bus.request(RoomInternal.listRooms, {}, { timeoutMs: 500 })).rejects.toMatchObject({
      code: 'deadline_exceeded',
    });
    const abort = new AbortController();
    const pending = bus.request(RoomInternal.listRooms, {}, { signal: abort.signal });
    abort.abort();
    await expect(pending).rejects.toMatchObject({ code: 'canceled' });
    await expect(bus.request(RoomInternal.listRooms, {}, { signal: abort.signal })).rejects.toMatchObject({
      code: 'canceled',
    });
  });

  it('delivers events to all subscribers in order, and survives a listener that throws', async () => {
    const first: string[] = [];
    const second: string[] = [];
    await bus.subscribe(DATA, () => {
      throw new Error('listener bug');
    });
    await bus.subscribe(DATA, (event) => first.push(event.room));
    const stop = await bus.subscribe(DATA, (event) => second.push(event.room));
    await bus.publish(DATA, { room: '1' });
    await bus.publish(DATA, { room: '2' });
    await expect
      .poll(() => [first, second], { timeout: 15_000 })
      .toEqual([
        ['1', '2'],
        ['1', '2'],
      ]);
    await stop();
    await bus.publish(DATA, { room: '3' });
    await expect.poll(() => first, { timeout: 15_000 }).toEqual(['1', '2', '3']);
    expect(second).toEqual(['1', '2']);
  });

  it('gives a request of a queue to one of its servers, also without a claim', async () => {
    const handled: string[] = [];
    for (const name of ['a', 'b', 'c']) {
      const note = (): Promise<object> => {
        handled.push(name);
        return Promise.resolve({});
      };
      await bus.serve(EgressHandler.stopEgress, note, { topic: 'EG_1' });
      await bus.serve(IngressHandler.whipRTCConnectionNotify, note, { topic: 'PA_1' });
    }
    for (let count = 1; count <= 5; count += 1) {
      await bus.request(EgressHandler.stopEgress, { egressId: 'EG_1' }, { topic: 'EG_1' });
      await bus.request(IngressHandler.whipRTCConnectionNotify, {}, { topic: 'PA_1' });
      expect(handled).toHaveLength(count * 2);
    }
  });

  it('never gives a request to a server that bids nothing', async () => {
    await bus.serve(EgressInternal.startEgress, () => Promise.resolve({}), { affinity: () => 0 });
    await expect(bus.request(EgressInternal.startEgress, {})).rejects.toMatchObject({ code: 'unavailable' });
  });

  it('collects what all servers answer, without those that fail', async () => {
    expect(await bus.requestMulti(EgressInternal.listActiveEgress, {})).toEqual([]);
    for (const id of ['EG_1', 'EG_2']) {
      await bus.serve(EgressInternal.listActiveEgress, () => Promise.resolve({ egressIds: [id] }));
    }
    await bus.serve(EgressInternal.listActiveEgress, () => Promise.reject(new Error('broken')));
    const answers = await bus.requestMulti(EgressInternal.listActiveEgress, {}, { timeoutMs: 500 });
    expect(answers.flatMap((answer) => answer.egressIds).sort()).toEqual(['EG_1', 'EG_2']);
  });

  it('serves topics with characters a channel name cannot have', async () => {
    const topic = 'room | ü \u{1F3A5}/x';
    await bus.serve(RoomInternal.listRooms, () => Promise.resolve({ rooms: [{ name: topic }] }), { topic });
    expect((await bus.request(RoomInternal.listRooms, {}, { topic })).rooms[0]?.name).toBe(topic);
  });

  it('answers nobody after close', async () => {
    await bus.serve(RoomInternal.listRooms, () => Promise.resolve({}));
    await bus.close();
    await expect(bus.request(RoomInternal.listRooms, {})).rejects.toMatchObject({ code: 'unavailable' });
  });
});
