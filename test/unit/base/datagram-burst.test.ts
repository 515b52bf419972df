import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { expect, test } from 'vitest';
import { DatagramBurst } from '../../../services/base/datagram-burst.ts';

test('a burst is taken whole and in order, past what Node delivers', async () => {
  const receiver = createSocket('udp4');
  const sender = createSocket('udp4');
  receiver.bind(0, '127.0.0.1');
  await once(receiver, 'listening');
  sender.connect(receiver.address().port, '127.0.0.1');
  await once(sender, 'connect');
  const burst = new DatagramBurst(receiver);
  const delivered: number[] = [];
  const taken: number[] = [];
  const all: number[] = [];
  const done = new Promise<void>((resolve) => {
    receiver.on('message', (datagram) => {
      delivered.push(datagram[0] ?? 0);
      all.push(datagram[0] ?? 0);
      burst.takeRest(datagram, (next) => {
        expect(next.every((byte) => byte === next[0])).toBe(true);
        taken.push(next[0] ?? 0);
        all.push(next[0] ?? 0);
      });
      if (all.length >= 14) {
        resolve();
      }
    });
  });
  // Two pictures of several pieces, and sound between and behind them; sent before anything can be received.
  const lengths = [1_200, 1_200, 1_200, 700, 100, 1_200, 1_200, 1_200, 1_200, 300, 100, 100, 1_200, 1_400];
  await Promise.all(
    lengths.map(
      (length, index) =>
        new Promise<void>((resolve, reject) => {
          sender.send(Buffer.alloc(length, index + 1), (error) => {
            if (error === null) {
              resolve();
            } else {
              reject(error);
            }
          });
        }),
    ),
  );
  await done;
  expect(all).toEqual(lengths.map((_, index) => index + 1));
  expect(taken).toEqual(expect.arrayContaining([2, 3, 4, 7, 8, 9, 10]));
  expect(delivered).toEqual(expect.arrayContaining([1, 5, 6]));
  sender.close();
  // Closing in the middle of a burst ends it.
  let after = 0;
  receiver.close();
  burst.takeRest(Buffer.alloc(1_200), () => (after += 1));
  expect(after).toBe(0);
});
