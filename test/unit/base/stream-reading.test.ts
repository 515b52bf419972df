import { createServer, connect, type AddressInfo, type Socket } from 'node:net';
import { once } from 'node:events';
import { PassThrough } from 'node:stream';
import { TLSSocket } from 'node:tls';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, expect, test } from 'vitest';
import { StreamReading } from '../../../services/base/stream-reading.ts';

const open: { destroy: () => void }[] = [];
afterEach(() => {
  open.splice(0).forEach((socket) => {
    socket.destroy();
  });
});

async function socketPair(): Promise<{ near: Socket; far: Socket }> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const accepted = once(server, 'connection') as Promise<[Socket]>;
  const far = connect((server.address() as AddressInfo).port, '127.0.0.1');
  const [near] = await accepted;
  server.close();
  open.push(near, far);
  return { near, far };
}

test('a stopped socket gives nothing, not even to its own buffer, and all of it after the start', async () => {
  const { near, far } = await socketPair();
  const reading = new StreamReading(near);
  let text = '';
  near.on('data', (data: Buffer) => {
    text += data.toString();
    reading.stop();
  });
  far.write('one ');
  await expect.poll(() => text, { timeout: 15_000 }).toBe('one ');
  for (const word of ['two ', 'three ', 'four']) {
    far.write(word);
    await delay(5);
  }
  expect(near.bytesRead).toBe(4);
  expect(text).toBe('one ');
  reading.start();
  await expect.poll(() => text, { timeout: 15_000 }).toBe('one two three four');
});

test('the end is noticed after the start', async () => {
  const { near, far } = await socketPair();
  const reading = new StreamReading(near);
  near.resume();
  reading.stop();
  const ended = once(near, 'end');
  far.end('bye');
  await once(far, 'finish');
  reading.start();
  await ended;
});

test('stopping and starting a destroyed socket does nothing', async () => {
  const { near } = await socketPair();
  const reading = new StreamReading(near);
  near.destroy();
  await once(near, 'close');
  reading.stop();
  reading.start();
});

test('a stream without a handle is paused', () => {
  const stream = new PassThrough();
  const reading = new StreamReading(stream);
  reading.stop();
  expect(stream.isPaused()).toBe(true);
  reading.start();
  expect(stream.isPaused()).toBe(false);
});

test('a stopped socket gives what has come when it is asked, and wakes nobody', async () => {
  const { near, far } = await socketPair();
  const reading = new StreamReading(near);
  let events = 0;
  near.on('data', () => {
    events++;
  });
  expect(reading.take(), 'not stopped').toBeUndefined();
  reading.stop();
  expect(reading.take(), 'nothing there').toBeUndefined();
  far.write('one ');
  far.write('two');
  let text = '';
  await expect
    .poll(
      () => {
        text += reading.take()?.toString() ?? '';
        return text;
      },
      { timeout: 15_000 },
    )
    .toBe('one two');
  expect(events).toBe(0);
  const ended = once(near, 'end');
  far.end();
  await once(far, 'finish');
  expect(reading.take(), 'the end is found by start()').toBeUndefined();
  reading.start();
  await ended;
});

test('nothing is taken from a TLS socket: below it there is only what is encrypted', async () => {
  const { near, far } = await socketPair();
  const secure = new TLSSocket(near, { isServer: true });
  secure.on('error', () => undefined);
  const reading = new StreamReading(secure);
  reading.stop();
  await new Promise((resolve) => {
    far.write('hello', resolve);
  });
  expect(reading.take()).toBeUndefined();
});
