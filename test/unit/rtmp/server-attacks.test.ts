import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { createLogger } from '../../../services/base/logger.ts';
import { ServiceError } from '../../../services/base/errors.ts';
import { AddressLimiter } from '../../../services/ingress/servers/address-limiter.ts';
import type { PublishRequest } from '../../../services/ingress/servers/publisher-types.ts';
import { RTMP_LIMITS, type RtmpLimits } from '../../../services/ingress/servers/rtmp-limits.ts';
import { startRtmpServer, type RtmpServer } from '../../../services/ingress/servers/rtmp-server.ts';
import { RtmpWire } from '../../../services/ingress/servers/rtmp-wire.ts';
import { amfObject, encodeAmf0, type AmfObject } from '../../../services/protocol/amf0.ts';
import { ChunkWriter } from '../../../services/protocol/rtmp-chunk.ts';
import {
  RTMP_MESSAGE,
  uint32Message,
  USER_CONTROL,
  userControlMessage,
} from '../../../services/protocol/rtmp-message.ts';
import { RtmpClient } from '../../support/rtmp-client.ts';
import { SeededRandom } from '../../support/seeded-random.ts';

/** Takes bytes and never gets rid of them. */
class DeafSocket extends Duplex {
  setNoDelay(): this {
    return this;
  }

  override _read(): void {
    // bytes come by push()
  }

  override _write(): void {
    // the callback that would ask for more is never called
  }
}

type Published = {
  request: PublishRequest;
  media: { kind: 'audio' | 'video'; timestampMs: number; body: Buffer }[];
  metadata: AmfObject[];
  ended: { cause: string; failure: Error | undefined }[];
};

let server: RtmpServer | undefined;
const published: Published[] = [];
const clients: RtmpClient[] = [];

async function start(limits: Partial<RtmpLimits> = {}): Promise<void> {
  server = await startRtmpServer({
    port: 0,
    bindAddress: '127.0.0.1',
    logger: createLogger({ level: 'silent' }),
    limits: { refusalDelayMs: 0, ...limits },
    onPublish: (request) => {
      if (request.streamKey !== 'right') {
        return Promise.reject(new ServiceError('not_found', 'stream key is not valid'));
      }
      const record: Published = { request, media: [], metadata: [], ended: [] };
      published.push(record);
      return Promise.resolve({
        metadata: (values) => record.metadata.push(values),
        audio: (timestampMs, body) => record.media.push({ kind: 'audio', timestampMs, body }),
        video: (timestampMs, body) => record.media.push({ kind: 'video', timestampMs, body }),
        end: (cause, failure) => record.ended.push({ cause, failure }),
      });
    },
  });
}

function client(): RtmpClient {
  const one = new RtmpClient(server?.port ?? 0);
  clients.push(one);
  return one;
}

/** What everybody who behaves still gets while others attack. */
async function expectStillServing(): Promise<void> {
  const good = client().publish('right');
  expect((await good.status()).code).toBe('NetStream.Publish.Start');
  good.close();
  await good.closed;
}

beforeEach(() => {
  published.length = 0;
});

afterEach(async () => {
  vi.useRealTimers();
  clients.splice(0).forEach((one) => {
    one.close();
  });
  await server?.close('test over');
});

describe('a publisher that behaves', () => {
  test('gets its messages through and its end noticed, once', async () => {
    await start();
    const one = client().publish('right');
    await one.status();
    expect(one.commands('_result').map(([, id]) => id)).toEqual([1, 2]);
    expect(one.commands('_result')[1]?.[3]).toBe(1);
    const metadata = encodeAmf0(['@setDataFrame', 'onMetaData', amfObject({ encoder: 'test' })]);
    one.send({ typeId: RTMP_MESSAGE.dataAmf0, payload: metadata });
    one.video(40, Buffer.from('picture')).send({ typeId: RTMP_MESSAGE.audio, payload: Buffer.from('sound') });
    one.command('deleteStream', null, 1);
    await one.until(() => one.statuses().some(({ code }) => code === 'NetStream.Unpublish.Success'));
    await one.closed;
    expect(published).toMatchObject([
      {
        metadata: [new Map([['encoder', 'test']])],
        media: [
          { kind: 'video', timestampMs: 40, body: Buffer.from('picture') },
          { kind: 'audio', timestampMs: 0, body: Buffer.from('sound') },
        ],
        ended: [{ cause: 'encoder stopped the stream', failure: undefined }],
      },
    ]);
  });

  test.each([
    ['live/right?token=abc', 'right'],
    ['right?', 'right'],
    ['a/b/right', 'right'],
  ])('the key of %j is %j', async (name, key) => {
    await start();
    await client().publish(name).status();
    expect(published[0]?.request.streamKey).toBe(key);
  });

  test('is acknowledged, and its pings are answered', async () => {
    await start();
    const one = client().publish('right');
    await one.status();
    one.send({ typeId: RTMP_MESSAGE.windowAcknowledgementSize, payload: Buffer.from([0, 1, 0, 0]) }, 2);
    one.raw(Buffer.alloc(0)).send({ ...userControlMessage(USER_CONTROL.pingRequest, 77) }, 2);
    one.video(0, Buffer.alloc(60_000));
    await one.until(
      () =>
        one.messages.some(({ typeId }) => typeId === RTMP_MESSAGE.acknowledgement) &&
        one.messages.some(({ payload }) => payload.equals(Buffer.from([0, 7, 0, 0, 0, 77]))),
    );
  });

  test('may send its commands as AMF3 messages', async () => {
    await start();
    const one = client().handshake().connectApp().command('createStream', null);
    const publish = Buffer.concat([Buffer.from([0]), encodeAmf0(['publish', 3, null, 'right', 'live'])]);
    one.send({ typeId: RTMP_MESSAGE.commandAmf3, payload: publish });
    expect((await one.status()).code).toBe('NetStream.Publish.Start');
  });

  test('may send media right behind publish, before the answer', async () => {
    await start();
    const one = client().publish('right').video(0, Buffer.from('early'));
    await one.status();
    await expect.poll(() => published[0]?.media.length, { timeout: 15_000 }).toBe(1);
  });
});

describe('bytes that are no RTMP', () => {
  test.each([
    ['HTTP', Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n')],
    ['TLS', Buffer.from([0x16, 3, 1, 2, 0])],
    ['noise', Buffer.alloc(10_000, 0xff)],
  ])('%s is hung up on', async (_case, bytes) => {
    await start();
    await client().raw(bytes).closed;
    await expectStillServing();
  });

  test('a handshake that never ends is cut after 5 s, however slowly it goes on', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    await start();
    const slow = client();
    await new Promise((resolve) => slow.socket.once('connect', resolve));
    for (let second = 0; second < 5; second++) {
      slow.raw(Buffer.from([3]));
      await vi.advanceTimersByTimeAsync(1_000);
    }
    await slow.closed;
  });

  test('a peer that shakes hands and then says nothing, or connects and never publishes, is cut', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    await start();
    const silent = client().handshake();
    const idle = client().handshake().connectApp();
    await idle.until(() => idle.commands('_result').length > 0);
    await vi.advanceTimersByTimeAsync(10_000);
    await Promise.all([silent.closed, idle.closed]);
  });

  test('a publisher without media is cut', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    await start();
    const one = client().publish('right');
    await one.status();
    await vi.advanceTimersByTimeAsync(30_000);
    await one.closed;
    expect(published[0]?.ended).toMatchObject([
      { cause: 'source encoder not ready: no media for 15 s', failure: expect.any(Error) as Error },
    ]);
  });
});

describe('out of turn', () => {
  const CASES: [string, (one: RtmpClient) => RtmpClient, string][] = [
    [
      'media before publish',
      (one) =>
        one
          .handshake()
          .connectApp()
          .video(0, Buffer.from([1])),
      'media before publish',
    ],
    ['media before connect', (one) => one.handshake().video(0, Buffer.from([1])), 'media before publish'],
    ['publish before connect', (one) => one.handshake().command('publish', null, 'right'), 'before connect'],
    ['connect twice', (one) => one.handshake().connectApp().connectApp(), 'connect twice'],
    ['publish twice', (one) => one.publish('right').command('publish', null, 'right'), 'after publish'],
    ['play', (one) => one.handshake().connectApp().command('play', null, 'right'), 'only accepts publishers'],
    [
      'a command without a name',
      (one) => one.handshake().send({ typeId: 20, payload: encodeAmf0([5]) }),
      'without a name',
    ],
    [
      'nested objects',
      (one) =>
        one.handshake().send({
          typeId: 20,
          payload: Buffer.from([
            ...Buffer.from([2, 0, 1, 0x61]),
            ...Array.from({ length: 2_000 }, () => [3, 0, 1, 0x61]).flat(),
          ]),
        }),
      'nested deeper',
    ],
    [
      'a command of 60 kB',
      (one) => one.handshake().send({ typeId: 20, payload: Buffer.alloc(60_000) }),
      'above the limit',
    ],
    [
      'a message of 1 MB before publish',
      (one) => one.handshake().send({ typeId: 9, payload: Buffer.alloc(1_000_000) }),
      'above the limit',
    ],
  ];
  test.each(CASES)('%s is refused with the reason, and hung up on', async (_case, attack, reason) => {
    await start();
    const one = attack(client());
    await one.closed;
    const status = one.statuses().find(({ level }) => level === 'error');
    expect(status?.description).toContain(reason);
    expect(published.every(({ ended }) => ended.length === 1)).toBe(true);
    await expectStillServing();
  });

  test('a flood of createStream or FCPublish ends the connection', async () => {
    await start();
    for (const name of ['createStream', 'FCPublish', 'releaseStream', 'nonsense']) {
      const one = client().handshake().connectApp();
      for (let i = 0; i < 100; i++) {
        one.command(name, null, 'x');
      }
      await one.closed;
      expect(one.statuses().at(-1)?.description).toContain('too many commands');
    }
  });

  test('chunk stream ids by the hundred end the connection', async () => {
    await start();
    const one = client().handshake().connectApp();
    for (let id = 4; id < 200; id++) {
      one.raw(Buffer.from([0, id, 0, 0, 0, 0, 0xff, 0xff, 9, 1, 0, 0, 0])).raw(Buffer.alloc(128));
    }
    await one.closed;
    expect(one.statuses().at(-1)?.description).toContain('chunk streams');
  });

  test('a peer that never reads its answers is dropped', async () => {
    const socket = new DeafSocket();
    const limits = { ...RTMP_LIMITS, maxCommands: 1e9, maxUnsentBytes: 10_000 };
    const violations: ServiceError[] = [];
    const wire = new RtmpWire(socket as unknown as Socket, limits, createLogger({ level: 'silent' }), {
      onHandshaken: () => undefined,
      onMessage: () => {
        wire.send(uint32Message(RTMP_MESSAGE.acknowledgement, 1));
      },
      onViolation: (error) => violations.push(error),
      onDisconnected: () => undefined,
    });
    const message = new ChunkWriter().write(3, { ...uint32Message(RTMP_MESSAGE.audio, 1) });
    socket.push(
      Buffer.concat([Buffer.from([3]), Buffer.alloc(2 * 1536), ...Array<Buffer>(1_000).fill(message)]),
    );
    await expect
      .poll(() => violations[0]?.message, { timeout: 15_000 })
      .toBe('RTMP: the peer does not read our answers');
    expect(socket.writableLength).toBeLessThan(11_000);
  });

  test.each([
    ['nothing', ''],
    ['only a query', '?right'],
    ['line breaks', 'right\r\nINFO forged log line'],
    ['path traversal', '../../right/..'],
    ['64 kB', 'right'.padStart(64_000, 'a/')],
    ['NUL', 'right\0'],
  ])('a publish name of %s opens nothing', async (_case, name) => {
    await start();
    const one = client().publish(name);
    await one.closed;
    expect(one.statuses().every(({ level }) => level === 'error')).toBe(true);
    expect(published).toEqual([]);
  });

  test('a publish without a name, or with an object as name, opens nothing', async () => {
    await start();
    for (const args of [[null], [null, amfObject({ a: 1 })], []]) {
      const one = client()
        .handshake()
        .connectApp()
        .command('publish', ...args);
      expect((await one.status()).code).toBe('NetStream.Publish.Failed');
      await one.closed;
    }
  });
});

describe('many connections', () => {
  test('beyond the limit they are refused at once, and a place that is left is given again', async () => {
    await start({ maxConnections: 3 });
    const held = [client(), client(), client()];
    await Promise.all(held.map((one) => new Promise((resolve) => one.socket.once('connect', resolve))));
    await client().closed;
    held[0]?.close();
    await held[0]?.closed;
    await expect
      .poll(
        async () => {
          const one = client().handshake();
          const answered = one.until(() => one.socket.bytesRead > 0).then(() => 'answered');
          return Promise.race([answered, one.closed.then(() => 'refused')]);
        },
        { timeout: 15_000 },
      )
      .toBe('answered');
  });

  test('wrong keys are counted per address and minute', () => {
    let nowMs = 0;
    const limits = { maxConnections: 100, maxConnectionsPerAddress: 2, maxFailuresPerAddressPerMinute: 3 };
    const limiter = new AddressLimiter(limits, () => nowMs);
    for (let i = 0; i < 3; i++) {
      expect(limiter.admit('10.0.0.1')).toBeUndefined();
      limiter.fail('10.0.0.1');
      limiter.release('10.0.0.1');
    }
    expect(limiter.admit('10.0.0.1')).toBe('too many failed attempts from this address');
    expect(limiter.admit('10.0.0.2')).toBeUndefined();
    expect(limiter.admit('10.0.0.2')).toBeUndefined();
    expect(limiter.admit('10.0.0.2')).toBe('too many connections from this address');
    nowMs = 60_001;
    expect(limiter.admit('10.0.0.1')).toBeUndefined();
  });

  test('guessing stops at the limit', async () => {
    await start({ maxFailuresPerAddressPerMinute: 3 });
    for (let i = 0; i < 3; i++) {
      const one = client().publish(`guess${i}`);
      expect((await one.status()).description).toBe('stream key is not valid');
      await one.closed;
    }
    const late = client().publish('right');
    await late.closed;
    expect(late.messages).toEqual([]);
  });

  test('refusals are given no sooner than the set time, whatever the reason', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] });
    await start({ refusalDelayMs: 300 });
    const one = client().publish('wrong');
    await one.until(() => one.commands('_result').length === 2);
    await vi.advanceTimersByTimeAsync(250);
    expect(one.statuses()).toEqual([]);
    await vi.advanceTimersByTimeAsync(100);
    expect((await one.status()).description).toBe('stream key is not valid');
  });
});

test('300 peers that send damaged conversations harm nobody else', async () => {
  await start({ maxFailuresPerAddressPerMinute: 1e9, maxConnectionsPerAddress: 1e9 });
  const recorded = record();
  const random = new SeededRandom(5);
  const watcher = client().publish('right');
  await watcher.status();
  for (let batch = 0; batch < 10; batch++) {
    await Promise.all(
      Array.from({ length: 30 }, async () => {
        const at = random.int(recorded.length);
        const bytes = Buffer.concat([recorded.subarray(0, at), random.damage(recorded.subarray(at))]);
        const one = client().handshake().raw(bytes);
        one.socket.end();
        await one.closed;
      }),
    );
  }
  watcher.video(5, Buffer.from('still here'));
  await expect.poll(() => published[0]?.media.length, { timeout: 15_000 }).toBe(1);
  await expectStillServing();
}, 30_000);

/** The chunks of a whole conversation behind the handshake, as a well-behaved client writes them. */
function record(): Buffer {
  const parts: Buffer[] = [];
  const one = client();
  one.socket.destroy();
  one.raw = (bytes) => {
    parts.push(Buffer.from(bytes));
    return one;
  };
  one.connectApp().command('createStream', null).command('publish', null, 'right', 'live');
  one.video(0, Buffer.from([0x17, 0, 0, 0, 0, 1])).video(33, Buffer.alloc(300, 9));
  return Buffer.concat(parts);
}
