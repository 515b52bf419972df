import { spawnSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { ListRoomsResponse, SendDataRequest } from '@livekit/protocol';
import { Redis } from 'ioredis';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createLogger } from '../../services/base/logger.ts';
import { connectRedisBus, type RedisBus, type RedisBusOptions } from '../../services/bus/redis-bus.ts';
import { EgressHandler, EgressInternal, IOInfo, RoomInternal } from '../../services/bus/rpc-methods.ts';
import { createRedisStores } from '../../services/bus/redis-stores.ts';
import { startRedis, type RedisServer, type RedisServerOptions } from '../support/redis-server.ts';

const logger = createLogger({ level: 'silent' });
const DATA = { channel: 'faults', event: SendDataRequest };
const cleanUps: (() => Promise<unknown>)[] = [];
let redis: RedisServer;

beforeEach(async () => {
  redis = await started();
});
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) {
    await cleanUp();
  }
});

async function started(options: RedisServerOptions = {}): Promise<RedisServer> {
  const server = await startRedis(options);
  cleanUps.push(() => server.close());
  return server;
}

async function connect(options: Partial<RedisBusOptions> = {}): Promise<RedisBus> {
  const bus = await connectRedisBus({ redis: { address: redis.address }, logger, ...options });
  cleanUps.push(() => bus.close());
  return bus;
}

describe('Redis is away at the start', () => {
  it('says where it was looked for, in bounded time, and never the password', async () => {
    await redis.kill();
    const attempt = connect({
      redis: { address: redis.address, password: 'hidden-password' },
      connectTimeoutMs: 500,
    });
    await expect(attempt).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining(
        `Redis at ${redis.address} did not become ready within 500 ms`,
      ) as string,
    });
    await expect(attempt).rejects.not.toThrow('hidden-password');
  });

  it('waits for one that comes a little later', async () => {
    await redis.kill();
    const connecting = connect();
    await redis.restart();
    expect((await connecting).state()).toBe('ready');
  });

  it.each([
    ['none', undefined],
    ['a wrong one', 'hidden-wrong'],
  ])('does not try again with a refused password (%s)', async (_name, password) => {
    const locked = await started({ password: 'hidden-right' });
    const attempt = connect({ redis: { address: locked.address, password }, connectTimeoutMs: 20_000 });
    await expect(attempt).rejects.toMatchObject({ code: 'unauthenticated' });
    await expect(attempt).rejects.toThrow(locked.address);
    await expect(attempt).rejects.not.toThrow('hidden');
    const bus = await connect({ redis: { address: locked.address, password: 'hidden-right' } });
    expect(bus.health()).toMatchObject({ state: 'ready', address: locked.address });
    expect(JSON.stringify(bus.health())).not.toContain('hidden');
  });

  it('stops when told to', async () => {
    await redis.kill();
    const abort = new AbortController();
    const attempt = connect({ signal: abort.signal });
    abort.abort();
    await expect(attempt).rejects.toMatchObject({ code: 'canceled' });
  });

  it('does not hang on a server that accepts and says nothing', async () => {
    redis.freeze();
    const attempt = connect({ connectTimeoutMs: 700 });
    await expect(attempt).rejects.toMatchObject({ code: 'unavailable' });
    redis.thaw();
  });
});

describe('Redis goes away in flight', () => {
  it('fails requests clearly, comes back, and serves again without anybody’s help', async () => {
    const server = await connect();
    const client = await connect();
    const states: string[] = [];
    client.connection.observe((state) => states.push(state));
    await server.serve(RoomInternal.listRooms, () => Promise.resolve({ rooms: [{ name: 'a' }] }));
    const heard: string[] = [];
    await server.subscribe(DATA, (event) => heard.push(event.room));
    expect((await client.request(RoomInternal.listRooms, {})).rooms).toHaveLength(1);

    await redis.kill();
    const failure = client.request(RoomInternal.listRooms, {}, { timeoutMs: 300 });
    await expect(failure).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining(`no connection to Redis at ${redis.address}`) as string,
    });
    expect(client.health()).toMatchObject({ state: 'reconnecting', lastError: expect.any(String) as string });
    // Registered while there is no Redis: takes effect when it is back.
    await server.serve(EgressHandler.stopEgress, ({ egressId }) => Promise.resolve({ egressId }), {
      topic: 'EG_1',
    });
    // Asked while there is no Redis: waits for it.
    const patient = client.request(RoomInternal.listRooms, {}, { timeoutMs: 20_000 }).then(
      () => 'answered',
      (error: unknown) => error,
    );
    await redis.restart();
    await expect
      .poll(() => [server.state(), client.state()], { timeout: 15_000 })
      .toEqual(['ready', 'ready']);
    // Either the server was back in time to hear it, or it says so.
    const outcome = await patient;
    if (outcome !== 'answered') {
      expect(outcome).toMatchObject({ code: 'unavailable' });
    }
    expect((await client.request(RoomInternal.listRooms, {})).rooms).toHaveLength(1);
    expect(
      (await client.request(EgressHandler.stopEgress, { egressId: 'EG_1' }, { topic: 'EG_1' })).egressId,
    ).toBe('EG_1');
    await client.publish(DATA, { room: 'after' });
    await expect.poll(() => heard, { timeout: 15_000 }).toEqual(['after']);
    expect(states).toEqual(['reconnecting', 'ready']);
  });

  it('delivers the answer of a request that was already at work', async () => {
    const server = await connect();
    const client = await connect();
    let finish: (rooms: ListRoomsResponse) => void = () => undefined;
    let begin: () => void = () => undefined;
    const begun = new Promise<void>((resolve) => (begin = resolve));
    await server.serve(RoomInternal.listRooms, () => {
      begin();
      return new Promise((resolve) => (finish = resolve));
    });
    const asked = client.request(RoomInternal.listRooms, {}, { timeoutMs: 20_000 });
    await begun;
    await redis.restart();
    await expect.poll(() => client.state(), { timeout: 15_000 }).toBe('ready');
    finish(new ListRoomsResponse({ rooms: [{ name: 'late' }] }));
    expect((await asked).rooms[0]?.name).toBe('late');
  });

  it('notices a server that keeps its connections and answers nobody', async () => {
    const bus = await connect();
    await bus.serve(RoomInternal.listRooms, () => Promise.resolve({}));
    redis.freeze();
    await expect.poll(() => bus.state(), { timeout: 20_000 }).toBe('reconnecting');
    redis.thaw();
    await expect.poll(() => bus.state(), { timeout: 20_000 }).toBe('ready');
    await bus.request(RoomInternal.listRooms, {});
  });

  it('fails store calls clearly and goes on afterwards', async () => {
    const bus = await connect();
    const stores = createRedisStores(bus, logger);
    cleanUps.push(() => stores.close());
    await redis.kill();
    const raced = stores.egressStore.list({}).catch((error: unknown) => error);
    await redis.restart();
    // Waits for the connection, or was in flight when it broke.
    const outcome = await raced;
    if (!Array.isArray(outcome)) {
      expect(outcome).toMatchObject({ code: 'unavailable' });
    }
    await expect.poll(() => bus.state(), { timeout: 15_000 }).toBe('ready');
    expect(await stores.egressStore.list({})).toEqual([]);
  });

  it('names the command that Redis refuses, and is not "away" because of it', async () => {
    const bus = await connect();
    const stores = createRedisStores(bus, logger);
    cleanUps.push(() => stores.close());
    const raw = new Redis(redis.port);
    await raw.set('egress', 'not a hash');
    raw.disconnect();
    await expect(stores.egressStore.list({})).rejects.toMatchObject({
      code: 'internal',
      message: expect.stringContaining('WRONGTYPE') as string,
    });
    expect(bus.state()).toBe('ready');
  });

  it('fails what is in flight when the bus closes', async () => {
    const bus = await connect();
    await bus.serve(RoomInternal.listRooms, () => new Promise(() => undefined));
    const asked = bus.request(RoomInternal.listRooms, {});
    await Promise.all([expect(asked).rejects.toMatchObject({ code: 'unavailable' }), bus.close()]);
    expect(bus.state()).toBe('closed');
    await bus.close();
  });
});

describe('many at once', () => {
  it('two nodes share a queue: every request is handled once', async () => {
    const handled = new Map<string, number>();
    for (const node of [await connect(), await connect()]) {
      await node.serve(IOInfo.getEgress, ({ egressId }) => {
        handled.set(egressId, (handled.get(egressId) ?? 0) + 1);
        return Promise.resolve({ egressId });
      });
    }
    const client = await connect();
    const ids = Array.from({ length: 100 }, (_, index) => `EG_${index}`);
    const answers = await Promise.all(ids.map((egressId) => client.request(IOInfo.getEgress, { egressId })));
    expect(answers.map((info) => info.egressId)).toEqual(ids);
    expect([...handled.values()]).toEqual(ids.map(() => 1));
  });

  it('the better of two nodes wins every bid', async () => {
    const started: string[] = [];
    for (const [name, affinity] of [
      ['idle', 0.5],
      ['busy', 0.9],
    ] as const) {
      await (
        await connect()
      ).serve(
        EgressInternal.startEgress,
        ({ egressId }) => {
          started.push(name);
          return Promise.resolve({ egressId });
        },
        { affinity: () => affinity },
      );
    }
    const client = await connect();
    await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        client.request(EgressInternal.startEgress, { egressId: `EG_${index}` }),
      ),
    );
    expect(started).toEqual(Array.from({ length: 20 }, () => 'busy'));
  });

  it('1000 requests at the same time are all answered, each with its own answer', async () => {
    const server = await connect();
    const client = await connect();
    await server.serve(RoomInternal.listRooms, ({ names }) =>
      Promise.resolve({ rooms: [{ name: names[0] ?? '' }] }),
    );
    const names = Array.from({ length: 1000 }, (_, index) => `room ${index}`);
    const answers = await Promise.all(
      names.map((name) => client.request(RoomInternal.listRooms, { names: [name] }, { timeoutMs: 30_000 })),
    );
    expect(answers.map((answer) => answer.rooms[0]?.name)).toEqual(names);
  });

  it('slow handlers hold up nobody, and what is too large is refused at the sender', async () => {
    const server = await connect();
    const client = await connect();
    await server.serve(RoomInternal.listRooms, ({ names }) =>
      names.includes('slow') ? new Promise(() => undefined) : Promise.resolve({}),
    );
    await server.serve(RoomInternal.updateRoomMetadata, () =>
      Promise.resolve({ metadata: 'x'.repeat(5 * 1024 * 1024) }),
    );
    const slow = Array.from({ length: 50 }, () =>
      client
        .request(RoomInternal.listRooms, { names: ['slow'] }, { timeoutMs: 3_000 })
        .catch((error: unknown) => error),
    );
    await client.request(RoomInternal.listRooms, {});
    await expect(client.request(RoomInternal.updateRoomMetadata, {})).rejects.toMatchObject({
      code: 'resource_exhausted',
    });
    const huge = { room: 'a', metadata: 'x'.repeat(5 * 1024 * 1024) };
    await expect(client.request(RoomInternal.updateRoomMetadata, huge)).rejects.toMatchObject({
      code: 'invalid_argument',
    });
    for (const outcome of await Promise.all(slow)) {
      expect(outcome).toMatchObject({ code: 'deadline_exceeded' });
    }
  });
});

describe('other ways to reach Redis', () => {
  it('by TLS with a certificate authority of one’s own, and not without', async () => {
    const folder = await mkdtemp(path.join(tmpdir(), 'sluice-redis-tls-'));
    cleanUps.push(() => rm(folder, { recursive: true, force: true }));
    const [key, cert] = [path.join(folder, 'key.pem'), path.join(folder, 'cert.pem')];
    const made = spawnSync('openssl', [
      ...[
        'req',
        '-x509',
        '-newkey',
        'ec',
        '-pkeyopt',
        'ec_paramgen_curve:prime256v1',
        '-nodes',
        '-days',
        '2',
      ],
      ...[
        '-keyout',
        key,
        '-out',
        cert,
        '-subj',
        '/CN=redis.test',
        '-addext',
        'subjectAltName=DNS:redis.test',
      ],
    ]);
    expect(made.status, made.stderr.toString()).toBe(0);
    const plain = await started();
    const tlsPort = plain.port + (plain.port > 60_000 ? -1 : 1);
    const server = await started({
      args: [
        ...['--tls-port', String(tlsPort), '--tls-auth-clients', 'no'],
        ...['--tls-cert-file', cert, '--tls-key-file', key, '--tls-ca-cert-file', cert],
      ],
    });
    const address = `127.0.0.1:${tlsPort}`;
    const bus = await connect({
      redis: { address, tls: { enabled: true, ca_cert_file: cert, server_name: 'redis.test' } },
    });
    await bus.serve(RoomInternal.listRooms, () => Promise.resolve({}));
    await bus.request(RoomInternal.listRooms, {});
    await expect(connect({ redis: { address, use_tls: true }, connectTimeoutMs: 3_000 })).rejects.toThrow(
      /self-signed certificate/,
    );
    expect(server.port).not.toBe(tlsPort);
  });

  it('by sentinels, which name the master', async () => {
    const sentinel = await started({ sentinelOf: { name: 'main', port: redis.port } });
    const bus = await connect({
      redis: { sentinel_master_name: 'main', sentinel_addresses: ['127.0.0.1:1', sentinel.address] },
    });
    await bus.serve(RoomInternal.listRooms, () => Promise.resolve({}));
    await bus.request(RoomInternal.listRooms, {});
    expect(bus.health().address).toContain('main');
    await expect(
      connect({
        redis: { sentinel_master_name: 'other', sentinel_addresses: [sentinel.address] },
        connectTimeoutMs: 500,
      }),
    ).rejects.toMatchObject({ code: 'unavailable' });
  });
});
