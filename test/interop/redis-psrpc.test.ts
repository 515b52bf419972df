import { createHash } from 'node:crypto';
import { EgressStatus } from '@livekit/protocol';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ServiceError } from '../../services/base/errors.ts';
import { createLogger } from '../../services/base/logger.ts';
import { connectRedisBus, type RedisBus } from '../../services/bus/redis-bus.ts';
import { EgressHandler, EgressInternal, IngressInternal, IOInfo } from '../../services/bus/rpc-methods.ts';
import {
  bytes,
  bytesField,
  float,
  floatField,
  int,
  intField,
  PsrpcPeer,
  readMessage,
  text,
  type WireMessage,
} from '../support/psrpc-wire.ts';
import { startRedis, type RedisServer } from '../support/redis-server.ts';

/** What LiveKit's Go server and workers put on Redis, byte by byte, against our bus on the other end. */
const START = 'EgressInternal|StartEgress|REQ';
const START_GRANT = 'EgressInternal|StartEgress|RCLAIM';
const CLAIM = 'EgressInternal|CLI_go|CLAIM';
const ANSWER = 'EgressInternal|CLI_go|RES';
const SECOND_NS = 1_000_000_000n;

let redis: RedisServer;
let bus: RedisBus;
let peer: PsrpcPeer;
beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.close());
beforeEach(async () => {
  bus = await connectRedisBus({
    redis: { address: redis.address },
    logger: createLogger({ level: 'silent' }),
  });
  peer = new PsrpcPeer(redis.port);
});
afterEach(async () => {
  peer.close();
  await bus.close();
});

const nowNs = (): bigint => BigInt(Date.now()) * 1_000_000n;
/** internal.Request of a Go client. */
function request(requestId: string, payload: Buffer, lifeNs = 3n * SECOND_NS): Buffer[] {
  return [
    bytesField(1, requestId),
    bytesField(2, 'CLI_go'),
    intField(3, nowNs()),
    intField(4, nowNs() + lifeNs),
    bytesField(8, payload),
  ];
}
/** rpc.StartEgressRequest{egress_id, web{url}}. */
const startWeb = Buffer.concat([bytesField(1, 'EG_go'), bytesField(11, bytesField(1, 'https://host'))]);
const grant = (requestId: string, serverId: string): Buffer[] => [
  bytesField(1, requestId),
  bytesField(2, serverId),
];

describe('LiveKit’s server asks our services', () => {
  beforeEach(() => peer.subscribe(CLAIM, ANSWER));

  it('starts an egress: bid, grant, answer', async () => {
    const seen: unknown[] = [];
    await bus.serve(
      EgressInternal.startEgress,
      ({ egressId, request: { case: kind, value } }) => {
        seen.push([egressId, kind, value]);
        return Promise.resolve({ egressId, status: EgressStatus.EGRESS_ACTIVE, roomName: 'studio' });
      },
      { affinity: () => 0.5 },
    );
    await peer.send(START, 'Request', ...request('REQ_1', startWeb));
    const bid = await peer.next(CLAIM);
    expect([bid.kind, text(bid.fields, 1), float(bid.fields, 3)]).toEqual(['ClaimRequest', 'REQ_1', 0.5]);
    const serverId = text(bid.fields, 2);
    expect(serverId).toMatch(/^SRV_\w{12}$/);
    expect(seen).toEqual([]);
    await peer.send(START_GRANT, 'ClaimResponse', ...grant('REQ_1', serverId));
    const { kind, fields } = await peer.next(ANSWER);
    expect([kind, text(fields, 1), text(fields, 2), text(fields, 5)]).toEqual([
      'Response',
      'REQ_1',
      serverId,
      '',
    ]);
    const info = readMessage(bytes(fields, 7));
    expect([text(info, 1), int(info, 3), text(info, 13)]).toEqual(['EG_go', 1n, 'studio']);
    expect(seen).toMatchObject([['EG_go', 'web', { url: 'https://host' }]]);
  });

  it('hears nothing from a server that declines, and the loser of a bid does nothing', async () => {
    let isStarted = false;
    await bus.serve(EgressInternal.startEgress, () => Promise.resolve({}), { affinity: () => -1 });
    await bus.serve(
      EgressInternal.startEgress,
      () => {
        isStarted = true;
        return Promise.resolve({});
      },
      { affinity: () => 1 },
    );
    await peer.send(START, 'Request', ...request('REQ_1', startWeb));
    expect(float((await peer.next(CLAIM)).fields, 3)).toBe(1);
    await peer.send(START_GRANT, 'ClaimResponse', ...grant('REQ_1', 'SRV_somebody'));
    // A second request, fully served, shows that the first is over.
    await peer.send(START, 'Request', ...request('REQ_2', startWeb));
    const bid = await peer.next(CLAIM);
    expect(text(bid.fields, 1)).toBe('REQ_2');
    expect(isStarted).toBe(false);
    await peer.send(START_GRANT, 'ClaimResponse', ...grant('REQ_2', text(bid.fields, 2)));
    expect(text((await peer.next(ANSWER)).fields, 1)).toBe('REQ_2');
    expect([peer.count(CLAIM), peer.count(ANSWER)]).toEqual([0, 0]);
  });

  it('gets errors with psrpc’s codes, from handlers and for payloads that are no request', async () => {
    await peer.subscribe('EgressHandler|CLI_go|RES', 'EgressHandler|CLI_go|CLAIM');
    await bus.serve(
      EgressHandler.stopEgress,
      () => Promise.reject(new ServiceError('dataloss', 'recording is gone')),
      { topic: 'EG_1' },
    );
    await peer.send(
      'EgressHandler|StopEgress|EG_1|REQ',
      'Request',
      ...request('REQ_1', bytesField(1, 'EG_1')),
    );
    const bid = await peer.next('EgressHandler|CLI_go|CLAIM');
    expect(float(bid.fields, 3)).toBe(1);
    await peer.send(
      'EgressHandler|StopEgress|EG_1|RCLAIM',
      'ClaimResponse',
      ...grant('REQ_1', text(bid.fields, 2)),
    );
    const codes = (fields: WireMessage): string[] => [text(fields, 5), text(fields, 6)];
    expect(codes((await peer.next('EgressHandler|CLI_go|RES')).fields)).toEqual([
      'recording is gone',
      'data_loss',
    ]);
    await peer.send(
      'EgressHandler|StopEgress|EG_1|REQ',
      'Request',
      ...request('REQ_2', Buffer.from('\xff\xff', 'latin1')),
    );
    const refusal = await peer.next('EgressHandler|CLI_go|RES');
    expect(codes(refusal.fields)[1]).toBe('malformed_request');
  });

  it('gets one answer per job list from every node, without a claim', async () => {
    for (const id of ['EG_1', 'EG_2']) {
      await bus.serve(EgressInternal.listActiveEgress, () => Promise.resolve({ egressIds: [id] }));
    }
    await peer.send(
      'EgressInternal|ListActiveEgress|REQ',
      'Request',
      ...request('REQ_1', Buffer.alloc(0)),
      intField(5, 1n),
    );
    const answers = [await peer.next(ANSWER), await peer.next(ANSWER)];
    expect(answers.map(({ fields }) => text(readMessage(bytes(fields, 7)), 1)).sort()).toEqual([
      'EG_1',
      'EG_2',
    ]);
    expect(peer.count(CLAIM)).toBe(0);
  });

  it('shares a queue with our consumers by psrpc’s lock', async () => {
    await peer.subscribe('IOInfo|CLI_go|CLAIM', 'IOInfo|CLI_go|RES');
    await bus.serve(IOInfo.getEgress, ({ egressId }) => Promise.resolve({ egressId }));
    const frame = Buffer.concat([
      bytesField(1, 'type.googleapis.com/internal.Request'),
      bytesField(2, Buffer.concat(request('REQ_taken', bytesField(1, 'EG_1')))),
    ]);
    const raw = new Redis(redis.port);
    await raw.flushall();
    // Another consumer, LiveKit's, was faster.
    await raw.set(createHash('sha256').update(frame).digest('base64'), '1', 'EX', 5);
    await peer.sendRaw('IOInfo|GetEgress|REQ', frame);
    await peer.send('IOInfo|GetEgress|REQ', 'Request', ...request('REQ_free', bytesField(1, 'EG_1')));
    expect(text((await peer.next('IOInfo|CLI_go|CLAIM')).fields, 1)).toBe('REQ_free');
    const locks = await raw.keys('*=');
    expect(locks).toHaveLength(2);
    expect(await raw.ttl(locks[0] ?? '')).toBeLessThanOrEqual(5);
    raw.disconnect();
  });

  it('is not disturbed by what is no request: too late, too large, garbage, no sender', async () => {
    await bus.serve(EgressInternal.startEgress, ({ egressId }) => Promise.resolve({ egressId }));
    await peer.send(START, 'Request', ...request('REQ_late', startWeb, -1n));
    await peer.sendRaw(START, Buffer.from('\xff\xfe garbage', 'latin1'));
    await peer.sendRaw(START, Buffer.alloc(0));
    await peer.sendRaw(START_GRANT, Buffer.from('\x0a\xff', 'latin1'));
    await peer.send(START, 'Response', bytesField(1, 'REQ_1'));
    await peer.send(START, 'Request', bytesField(1, 'REQ_1'), intField(4, nowNs() + SECOND_NS));
    await peer.sendRaw(START, Buffer.alloc(5 * 1024 * 1024, 1));
    await peer.send(START, 'Request', ...request('REQ_good', startWeb));
    const bid = await peer.next(CLAIM);
    expect(text(bid.fields, 1)).toBe('REQ_good');
    expect(bus.dropped()).toMatchObject({ expired: 1, oversized: 1, malformed: 5 });
  });

  it('may still use the payload form of older versions', async () => {
    await bus.serve(EgressInternal.startEgress, ({ egressId }) => Promise.resolve({ egressId }));
    const old = Buffer.concat([
      bytesField(1, 'type.googleapis.com/rpc.StartEgressRequest'),
      bytesField(2, startWeb),
    ]);
    await peer.send(START, 'Request', ...request('REQ_1', Buffer.alloc(0)).slice(0, 4), bytesField(6, old));
    const bid = await peer.next(CLAIM);
    await peer.send(START_GRANT, 'ClaimResponse', ...grant('REQ_1', text(bid.fields, 2)));
    expect(text(readMessage(bytes((await peer.next(ANSWER)).fields, 7)), 1)).toBe('EG_go');
  });
});

describe('we ask LiveKit’s workers', () => {
  /** internal.ClaimRequest, Response */
  const bid = (requestId: string, serverId: string, affinity: number): Buffer[] => [
    bytesField(1, requestId),
    bytesField(2, serverId),
    floatField(3, affinity),
  ];

  async function heardRequest(): Promise<{ id: string; client: string; fields: WireMessage }> {
    const { kind, fields } = await peer.next(START);
    expect(kind).toBe('Request');
    return { id: text(fields, 1), client: text(fields, 2), fields };
  }

  beforeEach(() => peer.subscribe(START, START_GRANT));

  it('starts an egress at the best bidder', async () => {
    const asked = bus.request(
      EgressInternal.startEgress,
      { egressId: 'EG_1', request: { case: 'web', value: { url: 'https://host' } } },
      { timeoutMs: 4_000 },
    );
    const { id, client, fields } = await heardRequest();
    expect([id, client]).toEqual([
      expect.stringMatching(/^REQ_\w{12}$/),
      expect.stringMatching(/^CLI_\w{12}$/),
    ]);
    expect(int(fields, 4) - int(fields, 3)).toBe(4n * SECOND_NS);
    expect(int(fields, 5)).toBe(0n);
    const payload = readMessage(bytes(fields, 8));
    expect([text(payload, 1), text(readMessage(bytes(payload, 11)), 1)]).toEqual(['EG_1', 'https://host']);
    await peer.send(`EgressInternal|${client}|CLAIM`, 'ClaimRequest', ...bid(id, 'SRV_idle', 0.5));
    await peer.send(`EgressInternal|${client}|CLAIM`, 'ClaimRequest', ...bid(id, 'SRV_busy', 0.75));
    await peer.send(`EgressInternal|${client}|CLAIM`, 'ClaimRequest', ...bid(id, 'SRV_zero', 0));
    const choice = await peer.next(START_GRANT);
    expect([choice.kind, text(choice.fields, 1), text(choice.fields, 2)]).toEqual([
      'ClaimResponse',
      id,
      'SRV_busy',
    ]);
    const info = Buffer.concat([bytesField(1, 'EG_1'), intField(3, 1n)]);
    await peer.send(`EgressInternal|${client}|RES`, 'Response', bytesField(1, id), bytesField(7, info));
    expect(await asked).toMatchObject({ egressId: 'EG_1', status: EgressStatus.EGRESS_ACTIVE });
  });

  it('takes a bid of 1 at once, and passes on the worker’s error', async () => {
    const asked = bus.request(EgressInternal.startEgress, { egressId: 'EG_1' });
    const { id, client } = await heardRequest();
    await peer.send(`EgressInternal|${client}|CLAIM`, 'ClaimRequest', ...bid(id, 'SRV_best', 1));
    expect(text((await peer.next(START_GRANT)).fields, 2)).toBe('SRV_best');
    const failure = [bytesField(1, id), bytesField(5, 'no room'), bytesField(6, 'resource_exhausted')];
    await peer.send(`EgressInternal|${client}|RES`, 'Response', ...failure);
    await expect(asked).rejects.toMatchObject({ code: 'resource_exhausted', message: 'no room' });
  });

  it('tells who did not answer: nobody, nobody able, or the one that was chosen', async () => {
    // The peer hears requests but does not bid.
    const silent = bus.request(EgressInternal.startEgress, {});
    await expect(silent).rejects.toMatchObject({ code: 'unavailable', message: 'no response from servers' });
    await heardRequest();

    const unable = bus.request(EgressInternal.startEgress, {});
    const first = await heardRequest();
    await peer.send(`EgressInternal|${first.client}|CLAIM`, 'ClaimRequest', ...bid(first.id, 'SRV_1', 0));
    await expect(unable).rejects.toMatchObject({
      code: 'unavailable',
      message: 'no servers available (received 1 responses)',
    });

    const slow = bus.request(EgressInternal.startEgress, {}, { timeoutMs: 2_000 });
    const second = await heardRequest();
    await peer.send(`EgressInternal|${second.client}|CLAIM`, 'ClaimRequest', ...bid(second.id, 'SRV_1', 1));
    await expect(slow).rejects.toMatchObject({ code: 'deadline_exceeded' });
  });

  it('knows at once when nobody listens', async () => {
    const tookMs: number[] = [];
    for (let count = 0; count < 5; count += 1) {
      const startedAtMs = performance.now();
      await expect(bus.request(IngressInternal.startIngress, {})).rejects.toMatchObject({
        message: 'no response from servers',
      });
      tookMs.push(performance.now() - startedAtMs);
    }
    // Bids may take a second: the fastest tells whether they were waited for.
    expect(Math.min(...tookMs)).toBeLessThan(900);
  });

  it('is not disturbed by garbage among the answers, nor by answers to others', async () => {
    const asked = bus.request(EgressInternal.startEgress, {});
    const { id, client } = await heardRequest();
    for (const channel of [`EgressInternal|${client}|CLAIM`, `EgressInternal|${client}|RES`]) {
      await peer.sendRaw(channel, Buffer.from('\xff', 'latin1'));
      await peer.send(channel, 'Request', bytesField(1, id));
    }
    await peer.send(`EgressInternal|${client}|CLAIM`, 'ClaimRequest', ...bid('REQ_other', 'SRV_x', 1));
    await peer.send(`EgressInternal|${client}|CLAIM`, 'ClaimRequest', ...bid(id, 'SRV_1', 1));
    expect(text((await peer.next(START_GRANT)).fields, 2)).toBe('SRV_1');
    await peer.send(
      `EgressInternal|${client}|RES`,
      'Response',
      bytesField(1, 'REQ_other'),
      bytesField(5, 'x'),
    );
    await peer.send(`EgressInternal|${client}|RES`, 'Response', bytesField(1, id));
    expect((await asked).egressId).toBe('');
    expect(bus.dropped().malformed).toBe(4);
  });
});
