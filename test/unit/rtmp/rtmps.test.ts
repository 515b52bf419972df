import { connect as connectTcp } from 'node:net';
import { connect, type TLSSocket } from 'node:tls';
import { afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { RtmpRig } from '../../support/rtmp-rig.ts';
import { selfSigned } from '../../support/tls-front.ts';

const rig = new RtmpRig();
let tls: { cert: string; key: string };
beforeAll(() => {
  tls = selfSigned();
});
afterEach(async () => {
  vi.useRealTimers();
  await rig.close();
});

function secure(port: number): TLSSocket {
  return connect({ port, host: '127.0.0.1', servername: 'localhost', ca: tls.cert });
}

describe('RTMPS', () => {
  test('carries a whole publication, beside plain RTMP', async () => {
    const { rtmpsPort } = await rig.start({ tls });
    const one = rig.client(secure(rtmpsPort)).publish('right');
    expect((await one.status()).code).toBe('NetStream.Publish.Start');
    const body = Buffer.alloc(500_000, 7);
    one.video(40, body);
    await expect.poll(() => rig.published[0]?.media[0]?.body.equals(body), { timeout: 15_000 }).toBe(true);
    expect((await rig.client().publish('right').status()).code).toBe('NetStream.Publish.Start');
    one.command('deleteStream', null, 1);
    await one.closed;
    expect(rig.published[0]?.ended).toEqual([{ cause: 'encoder stopped the stream', failure: undefined }]);
  });

  test('is off without a certificate', async () => {
    expect((await rig.start()).rtmpsPort).toBe(0);
  });

  test('refuses a certificate it cannot use, and leaves no port behind', async () => {
    await expect(rig.start({ tls: { cert: 'nonsense', key: tls.key } })).rejects.toThrow(
      'RTMPS: certificate or key cannot be used',
    );
  });

  test.each([
    ['plain RTMP', Buffer.alloc(3073, 3)],
    ['HTTP', Buffer.from('GET / HTTP/1.1\r\n\r\n')],
    ['a damaged TLS hello', Buffer.from([0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0xff])],
  ])('%s on its port is hung up on', async (_case, bytes) => {
    const { rtmpsPort } = await rig.start({ tls });
    const one = rig.client(connectTcp(rtmpsPort, '127.0.0.1')).raw(bytes);
    one.socket.end();
    await one.closed;
    expect((await rig.client(secure(rtmpsPort)).publish('right').status()).code).toBe(
      'NetStream.Publish.Start',
    );
  });

  test('a TLS handshake that is not finished in 5 s is cut, and its place is free again', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const { rtmpsPort } = await rig.start({ tls, limits: { maxConnections: 1 } });
    const silent = rig.client(connectTcp(rtmpsPort, '127.0.0.1'));
    await new Promise((resolve) => silent.socket.once('connect', resolve));
    const refused = rig.client(connectTcp(rtmpsPort, '127.0.0.1'));
    await refused.closed;
    await vi.advanceTimersByTimeAsync(7_000);
    await silent.closed;
    vi.useRealTimers();
    expect((await rig.client(secure(rtmpsPort)).publish('right').status()).code).toBe(
      'NetStream.Publish.Start',
    );
  });

  test('wrong keys are counted over both ports', async () => {
    const { rtmpsPort } = await rig.start({ tls, limits: { maxFailuresPerAddressPerMinute: 2 } });
    for (const one of [rig.client(secure(rtmpsPort)), rig.client()]) {
      expect((await one.publish('guess').status()).description).toBe('stream key is not valid');
      await one.closed;
    }
    const [late, lateSecure] = [
      rig.client().publish('right'),
      rig.client(secure(rtmpsPort)).publish('right'),
    ];
    await Promise.all([late.closed, lateSecure.closed]);
    expect(rig.published).toEqual([]);
  });
});
