import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { afterEach, expect, test, vi } from 'vitest';
import { createLogger } from '../../../services/base/logger.ts';
import { RTMP_LIMITS } from '../../../services/ingress/servers/rtmp-limits.ts';
import { RtmpWire } from '../../../services/ingress/servers/rtmp-wire.ts';
import { ChunkWriter } from '../../../services/protocol/rtmp-chunk.ts';
import {
  RTMP_MESSAGE,
  uint32Message,
  USER_CONTROL,
  userControlMessage,
} from '../../../services/protocol/rtmp-message.ts';
import { RtmpRig } from '../../support/rtmp-rig.ts';

/** What a peer may make us spend: work, messages, memory, time. */
const rig = new RtmpRig();
afterEach(async () => {
  vi.useRealTimers();
  await rig.close();
});

/** Takes all answers, reads what is pushed. */
class OpenSocket extends Duplex {
  setNoDelay(): this {
    return this;
  }

  override _read(): void {
    // bytes come by push()
  }

  override _write(_chunk: unknown, _encoding: string, done: () => void): void {
    done();
  }
}

test.each([
  [1, true],
  [128, false],
])('40 kB in chunks of %i bytes exhaust a second of 1 MB: %s', async (chunkBytes, exhausted) => {
  const socket = new OpenSocket();
  const limits = { ...RTMP_LIMITS, maxBytesPerS: 1_000_000 };
  let messages = 0;
  const wire = new RtmpWire(socket as unknown as Socket, limits, createLogger({ level: 'silent' }), {
    onHandshaken: () => undefined,
    onMessage: () => messages++,
    onViolation: (error) => expect.fail(error.message),
    onDisconnected: () => undefined,
  });
  const writer = new ChunkWriter();
  const announced = writer.write(2, uint32Message(RTMP_MESSAGE.setChunkSize, chunkBytes));
  writer.setChunkBytes(chunkBytes);
  const message = {
    typeId: RTMP_MESSAGE.video,
    messageStreamId: 1,
    timestampMs: 0,
    payload: Buffer.alloc(1_000),
  };
  const media = Array.from({ length: 40 }, () => writer.write(4, message));
  socket.push(Buffer.concat([Buffer.from([3]), Buffer.alloc(2 * 1536), announced, ...media]));
  await expect.poll(() => messages, { timeout: 15_000 }).toBe(40);
  expect(socket.isPaused()).toBe(exhausted);
  wire.close();
});

test('a flood of pings ends the connection', async () => {
  await rig.start();
  const one = rig.client().publish('right');
  await one.status();
  for (let i = 0; i < 100; i++) {
    one.send(userControlMessage(USER_CONTROL.pingRequest, i), 2);
  }
  await one.closed;
  expect(one.statuses().at(-1)?.description).toContain('too many commands');
});

test('pings once in a while are answered for ever', async () => {
  vi.useFakeTimers({ toFake: ['performance'] });
  await rig.start({ limits: { maxCommands: 10 } });
  const one = rig.client().publish('right');
  await one.status();
  for (let i = 0; i < 30; i++) {
    vi.advanceTimersByTime(5_000);
    one.send(userControlMessage(USER_CONTROL.pingRequest, i), 2);
    await one.until(
      () => one.messages.filter(({ typeId }) => typeId === RTMP_MESSAGE.userControl).length > i + 1,
    );
  }
});

test('a publisher that drips bytes but finishes no message is cut', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  await rig.start();
  const one = rig.client().publish('right');
  await one.status();
  one.raw(Buffer.from([6, 0, 0, 0, 0, 0x40, 0, 9, 1, 0, 0, 0]));
  for (let second = 0; second < 31; second++) {
    one.raw(Buffer.from([1]));
    await vi.advanceTimersByTimeAsync(1_000);
  }
  await one.closed;
  expect(rig.published[0]?.ended[0]?.cause).toBe('source encoder not ready: no media for 15 s');
});

test('100 peers that declare 64 kB on each of 12 streams cost what they send', async () => {
  await rig.start({ limits: { maxConnectionsPerAddress: 1_000 } });
  const writer = new ChunkWriter();
  const payload = Buffer.alloc(65_000);
  const starts = Array.from({ length: 12 }, (_, i) =>
    Buffer.from(
      writer.write(4 + i, { typeId: 20, messageStreamId: 0, timestampMs: 0, payload }).subarray(0, 140),
    ),
  );
  const before = process.memoryUsage().arrayBuffers;
  const peers = Array.from({ length: 100 }, () => {
    const one = rig.client().handshake().connectApp();
    starts.forEach((start) => one.raw(start));
    return one;
  });
  await Promise.all(peers.map((one) => one.until(() => one.commands('_result').length > 0)));
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(40_000_000);
  expect((await rig.client().publish('right').status()).code).toBe('NetStream.Publish.Start');
});
