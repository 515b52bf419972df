import { ListRoomsResponse, Room, SendDataRequest } from '@livekit/protocol';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ServiceError } from '../../../services/base/errors.ts';
import type { Bus } from '../../../services/bus/bus.ts';
import { MemoryBus } from '../../../services/bus/memory-bus.ts';
import { EgressInternal, RoomInternal } from '../../../services/bus/rpc-methods.ts';

/** Every bus implementation passes this. */
const IMPLEMENTATIONS: readonly [name: string, create: () => Bus][] = [['memory', () => new MemoryBus()]];
const DATA = { channel: 'test_data', event: SendDataRequest };

describe.each(IMPLEMENTATIONS)('%s bus', (_name, create) => {
  let bus: Bus;
  beforeEach(() => {
    bus = create();
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
    await expect(bus.request(RoomInternal.listRooms, {}, { timeoutMs: 20 })).rejects.toMatchObject({
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
      .poll(() => [first, second])
      .toEqual([
        ['1', '2'],
        ['1', '2'],
      ]);
    await stop();
    await bus.publish(DATA, { room: '3' });
    await expect.poll(() => first).toEqual(['1', '2', '3']);
    expect(second).toEqual(['1', '2']);
  });

  it('answers nobody after close', async () => {
    await bus.serve(RoomInternal.listRooms, () => Promise.resolve({}));
    await bus.close();
    await expect(bus.request(RoomInternal.listRooms, {})).rejects.toMatchObject({ code: 'unavailable' });
  });
});
