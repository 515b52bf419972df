import { afterEach, describe, expect, it, vi } from 'vitest';
import { createLogger } from '../../../services/base/logger.ts';
import { ServiceError } from '../../../services/base/errors.ts';
import { AddressLimiter } from '../../../services/ingress/servers/address-limiter.ts';
import type { SrtLimits } from '../../../services/ingress/srt/srt-limits.ts';
import { startSrtServer, type SrtServer } from '../../../services/ingress/srt/srt-server.ts';
import { SynCookie } from '../../../services/ingress/srt/syn-cookie.ts';
import { CALLER_ID, conclusion, induction, SrtCaller, words } from '../../support/srt-caller.ts';
import { SeededRandom } from '../../support/seeded-random.ts';

const LIMITS = { maxConnections: 100, maxConnectionsPerAddress: 100, maxFailuresPerAddressPerMinute: 1_000 };
const cleanUps: (() => Promise<unknown>)[] = [];
const keys: string[] = [];
/** What a key is answered. */
let answers: Record<string, () => Promise<never>> = {};

afterEach(async () => {
  await Promise.all(cleanUps.splice(0).map((cleanUp) => cleanUp()));
  keys.length = 0;
  answers = {};
});

async function start(
  options: { limits?: Partial<SrtLimits>; failures?: number; passphrase?: string } = {},
): Promise<{ server: SrtServer; caller: SrtCaller; another: () => SrtCaller }> {
  const limiter = new AddressLimiter({
    ...LIMITS,
    ...(options.failures === undefined ? {} : { maxFailuresPerAddressPerMinute: options.failures }),
  });
  const server = await startSrtServer({
    ...{ port: 0, bindAddress: '127.0.0.1', passphrase: options.passphrase ?? '', limiter },
    limits: { refusalDelayMs: 0, handshakeBurst: 100_000, ...options.limits },
    ffmpegPath: '/nonexistent',
    logger: createLogger({ level: 'silent' }),
    onPublish: ({ streamKey }) => {
      keys.push(streamKey);
      const answer = answers[streamKey];
      return answer === undefined
        ? Promise.reject(new ServiceError('not_found', 'stream key is not valid'))
        : answer();
    },
  });
  const another = (): SrtCaller => {
    const caller = new SrtCaller(server.port);
    cleanUps.push(() => caller.close());
    return caller;
  };
  cleanUps.push(() => server.close('test over'));
  return { server, caller: another(), another };
}

describe('before a key is known', () => {
  it('the answer to a first question is no longer than it, and names no cookie twice', async () => {
    const { caller, another } = await start();
    const answer = await caller.ask(induction());
    expect(answer.length).toBe(induction().length);
    expect(answer.readUInt32BE(12)).toBe(CALLER_ID);
    expect([answer.readUInt32BE(16), answer.readUInt16BE(22)]).toEqual([5, 0x4a17]);
    expect(answer.readUInt32BE(36)).toBe(1);
    expect(await another().introduce()).not.toBe(answer.readUInt32BE(44));
  });

  it('a caller that was not introduced is not answered, nor looked up', async () => {
    const { server, caller, another } = await start();
    const cookie = await another().introduce();
    caller.send(conclusion({ cookie, streamId: 'k3y' }));
    caller.send(conclusion({ cookie: 0, streamId: 'k3y' }));
    await caller.introduce();
    expect(caller.answers).toHaveLength(1);
    expect([keys, server.connections]).toEqual([[], 0]);
  });

  it('a cookie gets old', () => {
    let nowMs = 0;
    const cookies = new SynCookie(() => nowMs);
    const cookie = cookies.make('a 1 2');
    expect([cookies.isGood('a 1 2', cookie), cookies.isGood('a 1 3', cookie)]).toEqual([true, false]);
    nowMs = 45_000;
    expect(cookies.isGood('a 1 2', cookie)).toBe(true);
    nowMs = 61_000;
    expect(cookies.isGood('a 1 2', cookie)).toBe(false);
  });

  it('handshakes above the rate of an address are not answered', async () => {
    const { caller, another } = await start({ limits: { handshakeBurst: 3, handshakesPerS: 0.001 } });
    for (let i = 0; i < 20; i++) {
      caller.send(induction(i));
    }
    await vi.waitFor(() => expect(caller.answers).toHaveLength(3), { timeout: 15_000 });
    another().send(induction());
    expect(caller.answers).toHaveLength(3);
  });
});

describe('refusals', () => {
  const group = [8, Buffer.alloc(8)] as [number, Buffer];
  const file = [6, words('file')] as [number, Buffer];
  const km = [3, Buffer.alloc(60)] as [number, Buffer];
  it.each([
    ['an unknown key', { streamId: 'wrong' }, 2404],
    ['a key in the list form', { streamId: '#!::r=wrong,m=publish' }, 2404],
    ['no stream id', {}, 2400],
    ['an unreadable stream id', { streamId: '#!::r=a,r=b,m=publish' }, 2400],
    ['somebody who wants to receive', { streamId: '#!::r=wrong,m=request' }, 2405],
    ['a bond', { streamId: 'wrong', extensions: [group] }, 1015],
    ['a file transfer', { streamId: 'wrong', extensions: [file] }, 1013],
    ['encryption that is not configured', { streamId: 'wrong', extensions: [km] }, 1011],
    ['an old version', { streamId: 'wrong', version: 4 }, 1008],
  ])('%s', async (_case, options, type) => {
    const { server, caller } = await start();
    expect(await caller.connect(options)).toBe(type);
    expect(caller.answers.at(-1)?.length).toBeLessThanOrEqual(64);
    await vi.waitFor(() => expect(server.connections).toBe(0), { timeout: 15_000 });
  });

  it.each([
    ['already_exists', 2409],
    ['resource_exhausted', 2402],
    ['unavailable', 2503],
    ['permission_denied', 2403],
    ['failed_precondition', 2500],
  ] as const)('what the session says: %s', async (code, type) => {
    const { caller } = await start();
    answers['k3y'] = () => Promise.reject(new ServiceError(code, 'no'));
    expect(await caller.connect({ streamId: 'publish:k3y' })).toBe(type);
  });

  it('nobody may come unencrypted where a passphrase is set, and wrong ones are told apart', async () => {
    const { caller } = await start({ passphrase: 'correct-horse' });
    expect(await caller.connect({ streamId: 'wrong' })).toBe(1011);
    expect(await caller.connect({ streamId: 'wrong', extensions: [km] })).toBe(1010);
    expect(keys).toEqual([]);
  });

  it('guessing ends after a few keys', async () => {
    const { caller } = await start({ failures: 3 });
    const types: number[] = [];
    for (const streamId of ['a', 'b', 'c', 'd']) {
      types.push(await caller.connect({ streamId }));
    }
    expect(types).toEqual([2404, 2404, 2404, 2402]);
    expect(keys).toEqual(['a', 'b', 'c']);
  });

  it('one that repeats itself is looked up once, and only so many at a time', async () => {
    const { server, caller, another } = await start({ limits: { maxHalfOpen: 2 } });
    let refuse: (error: Error) => void = () => undefined;
    const held = new Promise<never>((_resolve, reject) => (refuse = reject));
    answers['k3y'] = () => held;
    const cookie = await caller.introduce();
    for (let i = 0; i < 5; i++) {
      caller.send(conclusion({ cookie, streamId: 'k3y' }));
    }
    void another().connect({ streamId: 'k3y' });
    await vi.waitFor(() => expect(keys).toHaveLength(2), { timeout: 15_000 });
    expect(await another().connect({ streamId: 'k3y' })).toBe(2402);
    refuse(new ServiceError('not_found', 'no'));
    await vi.waitFor(() => expect(server.connections).toBe(0), { timeout: 15_000 });
  });

  it('what ffmpeg cannot be started for ends with an error, and the caller hears of it', async () => {
    const { caller } = await start();
    const ended: unknown[] = [];
    const sink = {
      metadata: () => undefined,
      audio: () => undefined,
      video: () => undefined,
      end: (cause: string, failure?: Error) => ended.push(cause, failure),
    };
    const settings = { video: {}, audio: { channels: 2, bitrateKbps: 96 } };
    answers['k3y'] = () => Promise.resolve({ sink, settings } as never);
    expect(await caller.connect({ streamId: 'k3y' })).toBe(2503);
    expect(ended).toEqual([expect.stringContaining('the stream cannot be read'), expect.any(ServiceError)]);
  });
});

it('damaged datagrams do nothing: 10 000 of them', { timeout: 60_000 }, async () => {
  const { server, another } = await start({ passphrase: 'correct-horse' });
  const random = new SeededRandom(4_711);
  const before = process.memoryUsage().heapUsed;
  for (let round = 0; round < 100; round++) {
    const caller = another();
    const cookie = await caller.introduce(round);
    const whole = conclusion(
      {
        cookie,
        streamId: 'wrong',
        extensions: [
          [3, Buffer.alloc(72, round)],
          [6, words('live')],
        ],
      },
      round,
    );
    for (let i = 0; i < 100; i++) {
      caller.send(Buffer.from(random.damage(whole)).subarray(0, 1_500));
    }
    await caller.introduce(round + 1_000);
    expect(caller.answers.every(({ length }) => length <= 64)).toBe(true);
  }
  expect(await another().connect({ streamId: 'wrong' })).toBe(1011);
  await vi.waitFor(() => expect(server.connections).toBe(0), { timeout: 15_000 });
  expect(process.memoryUsage().heapUsed - before).toBeLessThan(64_000_000);
});
