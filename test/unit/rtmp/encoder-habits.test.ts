import { createHmac } from 'node:crypto';
import { afterEach, describe, expect, test } from 'vitest';
import { amfObject, encodeAmf0, type AmfValue } from '../../../services/protocol/amf0.ts';
import { flvTag } from '../../../services/protocol/flv.ts';
import { ServerHandshake } from '../../../services/protocol/rtmp-handshake.ts';
import { RTMP_MESSAGE, uint32Message } from '../../../services/protocol/rtmp-message.ts';
import { streamKeyOf } from '../../../services/ingress/servers/rtmp-commands.ts';
import { RtmpRig } from '../../support/rtmp-rig.ts';
import { SeededRandom } from '../../support/seeded-random.ts';

const rig = new RtmpRig();
afterEach(() => rig.close());

describe('the handshake with digests', () => {
  const CLIENT_KEY = 'Genuine Adobe Flash Player 001';
  const SERVER_KEY = 'Genuine Adobe Flash Media Server 001';
  const SUFFIX = Buffer.from('f0eec24a8068bee82e00d0d1029e7e576eec5d2d29806fab93b8e636cfeb31ae', 'hex');
  /** First byte behind the four that tell the place. */
  const FIELD = { 'scheme 0': 8, 'scheme 1': 772 } as const;

  function placeOf(packet: Buffer, field: number): number {
    return field + 4 + (packet.subarray(field, field + 4).reduce((sum, byte) => sum + byte, 0) % 728);
  }
  function digestOf(packet: Buffer, at: number, key: string): Buffer {
    const rest = Buffer.concat([packet.subarray(0, at), packet.subarray(at + 32)]);
    return createHmac('sha256', key).update(rest).digest();
  }

  test.each(['scheme 0', 'scheme 1'] as const)('%s is answered with a signature of its digest', (scheme) => {
    for (let seed = 0; seed < 20; seed++) {
      const c1 = Buffer.from(new SeededRandom(seed).bytes(1536));
      c1.set([128, 0, 7, 2], 4);
      const at = placeOf(c1, FIELD[scheme]);
      const digest = digestOf(c1, at, CLIENT_KEY);
      c1.set(digest, at);
      const { reply } = new ServerHandshake().push(Buffer.concat([Buffer.from([3]), c1]));
      const s1 = reply.subarray(1, 1537);
      const s2 = reply.subarray(1537);
      const serverAt = placeOf(s1, FIELD[scheme]);
      expect(digestOf(s1, serverAt, SERVER_KEY)).toEqual(s1.subarray(serverAt, serverAt + 32));
      const key = createHmac('sha256', Buffer.concat([Buffer.from(SERVER_KEY), SUFFIX]))
        .update(digest)
        .digest();
      expect(createHmac('sha256', key).update(s2.subarray(0, 1504)).digest()).toEqual(s2.subarray(1504));
    }
  });

  test.each([
    ['a version but no digest', [9, 0, 124, 2]],
    ['neither', [0, 0, 0, 0]],
  ])('%s is answered with an echo', (_case, version) => {
    const c1 = Buffer.from(new SeededRandom(3).bytes(1536));
    c1.set(version, 4);
    const { reply } = new ServerHandshake().push(Buffer.concat([Buffer.from([3]), c1]));
    expect(reply.subarray(1537)).toEqual(c1);
  });
});

describe('where the stream key is', () => {
  test.each([
    ['server/app and key', 'live', 'right', 'right'],
    ['ffmpeg with a query', 'live', 'right?token=a/b', 'right'],
    ['app/instance', 'live/instance', 'right', 'right'],
    ['the whole address in the key field', 'live', 'rtmp://host/live/right', 'right'],
    ['the whole address as application', 'live/right', '', 'right'],
    ['the whole address as application, with a query', 'live/right?user=x', '', 'right'],
    ['only a query as name', 'live/right', '?user=x', 'right'],
    ['no application', '', 'right', 'right'],
    ['a slash at the end', 'live/', '', ''],
    ['a slash in front', 'live', '/right', 'right'],
    ['mp4: and flv: prefixes are part of a key', 'live', 'mp4:right', 'mp4:right'],
  ])('%s', (_case, app, name, key) => {
    expect(streamKeyOf(name, app)).toBe(key);
  });

  test('an address that ended up as application opens its endpoint', async () => {
    await rig.start();
    const one = rig.client().handshake();
    one.command('connect', amfObject({ app: 'live/right', tcUrl: 'rtmp://127.0.0.1/live/right' }));
    one.command('createStream', null).command('publish', null, '', 'live');
    expect((await one.status()).code).toBe('NetStream.Publish.Start');
  });
});

describe('commands', () => {
  test.each<[string, AmfValue[]]>([
    ['no object', []],
    ['null', [null]],
    ['an empty object', [amfObject({})]],
    ['wrong types', [amfObject({ app: 5, tcUrl: true, capsEx: 'x', fourCcList: 7 })]],
    ['keys of JavaScript', [new Map<string, AmfValue>([['__proto__', amfObject({ app: 'x' })]])]],
  ])('connect with %s is enough', async (_case, args) => {
    await rig.start();
    const one = rig.client().handshake();
    one
      .command('connect', ...args)
      .command('createStream', null)
      .command('publish', null, 'right', 'live');
    expect((await one.status()).code).toBe('NetStream.Publish.Start');
  });

  test.each([NaN, Infinity, -1, 1.5, 1e300])('transaction id %d harms nobody', async (id) => {
    await rig.start();
    const one = rig.client().handshake();
    one.send({ typeId: RTMP_MESSAGE.commandAmf0, payload: encodeAmf0(['connect', id, amfObject({})]) }, 3);
    one.command('createStream', null).command('publish', null, 'right', 'live');
    expect((await one.status()).code).toBe('NetStream.Publish.Start');
  });

  test('FMLE: releaseStream and FCPublish before createStream, each answered', async () => {
    await rig.start();
    const one = rig.client().handshake().connectApp();
    one
      .command('releaseStream', null, 'right')
      .command('FCPublish', null, 'right')
      .command('createStream', null);
    one.command('_checkbw', null).command('publish', null, 'right', 'live');
    await one.status();
    expect(one.commands('_result').map(([, id]) => id)).toEqual([1, 2, 3, 4]);
    expect(one.commands('onFCPublish')).toHaveLength(1);
    one.command('FCUnpublish', null, 'right');
    await one.closed;
    expect(rig.published[0]?.ended).toEqual([{ cause: 'encoder stopped the stream', failure: undefined }]);
  });

  test.each([
    ['with the zero byte', [0]],
    ['without it', []],
  ])('all commands as AMF3 messages %s', async (_case, prefix) => {
    await rig.start();
    const one = rig.client().handshake();
    for (const values of [
      ['connect', 1, amfObject({ app: 'live', objectEncoding: 3 })],
      ['createStream', 2, null],
      ['publish', 3, null, 'right', 'live'],
    ]) {
      one.send({
        typeId: RTMP_MESSAGE.commandAmf3,
        messageStreamId: 0,
        payload: Buffer.concat([Buffer.from(prefix), encodeAmf0(values)]),
      });
    }
    expect((await one.status()).code).toBe('NetStream.Publish.Start');
  });

  test('metadata that is missing, empty or in AMF3 does not matter; what can be read arrives', async () => {
    await rig.start();
    const one = rig.client().publish('right');
    await one.status();
    const { dataAmf0, dataAmf3 } = RTMP_MESSAGE;
    one.send({ typeId: dataAmf0, payload: Buffer.alloc(0) });
    one.send({ typeId: dataAmf0, payload: encodeAmf0(['onMetaData']) });
    one.send({ typeId: dataAmf0, payload: Buffer.from([2, 0, 1, 0x61, 17, 10, 11, 1]) });
    one.send({
      typeId: dataAmf3,
      payload: Buffer.concat([Buffer.from([0]), encodeAmf0(['onMetaData', amfObject({ encoder: 'A' })])]),
    });
    one.send({ typeId: dataAmf0, payload: encodeAmf0(['onMetaData', amfObject({ encoder: 'B' })]) });
    one.video(0, Buffer.from('x'));
    await expect.poll(() => rig.published[0]?.media.length, { timeout: 15_000 }).toBe(1);
    expect(rig.published[0]?.metadata.map((values) => values.get('encoder'))).toEqual(['A', 'B']);
  });
});

describe('chunks', () => {
  test.each([1, 127, 128, 4_096, 65_536, 1_000_000])('of %i bytes', async (chunkBytes) => {
    await rig.start();
    const one = rig.client().publish('right');
    await one.status();
    one.setChunkBytes(chunkBytes);
    const bodies = [Buffer.alloc(3_000, 1), Buffer.alloc(100_000, 2), Buffer.from([3])];
    bodies.forEach((body, i) => one.video(0xfffff0 + i * 40, body));
    await expect.poll(() => rig.published[0]?.media.length, { timeout: 15_000 }).toBe(3);
    expect(rig.published[0]?.media.map(({ timestampMs }) => timestampMs)).toEqual([
      0xfffff0, 0x1000018, 0x1000040,
    ]);
    expect(rig.published[0]?.media.every(({ body }, i) => body.equals(bodies[i] ?? body))).toBe(true);
  });

  test.each([3, 63, 64, 319, 320, 65_599])('on chunk stream %i', async (id) => {
    await rig.start();
    const one = rig.client().publish('right');
    await one.status();
    one.send({ typeId: RTMP_MESSAGE.video, payload: Buffer.alloc(300, 5) }, id);
    await expect.poll(() => rig.published[0]?.media.length, { timeout: 15_000 }).toBe(1);
  });

  test('a first message with a header of type 1 counts from zero', async () => {
    await rig.start();
    const one = rig.client().publish('right');
    await one.status();
    one.raw(Buffer.from([0x40 | 9, 0, 0, 7, 0, 0, 1, 9, 5]));
    await expect.poll(() => rig.published[0]?.media.length, { timeout: 15_000 }).toBe(1);
    expect(rig.published[0]?.media[0]?.timestampMs).toBe(7);
  });

  test('aggregates carry sound and picture; one inside another carries nothing', async () => {
    await rig.start();
    const one = rig.client().publish('right');
    await one.status();
    const media = Buffer.concat([flvTag(8, 0, [Buffer.from('a')]), flvTag(9, 20, [Buffer.from('v')])]);
    one.send({ typeId: RTMP_MESSAGE.aggregate, timestampMs: 1_000, payload: media });
    one.send({ typeId: RTMP_MESSAGE.aggregate, payload: flvTag(22, 0, [media]) });
    one.send({ typeId: RTMP_MESSAGE.aggregate, payload: Buffer.alloc(10, 0xff) });
    one.video(2_000, Buffer.from('end'));
    await expect.poll(() => rig.published[0]?.media.at(-1)?.timestampMs, { timeout: 15_000 }).toBe(2_000);
    expect(rig.published[0]?.media.map(({ kind, timestampMs }) => [kind, timestampMs])).toEqual([
      ['audio', 1_000],
      ['video', 1_020],
      ['video', 2_000],
    ]);
  });
});

describe('what an encoder announces', () => {
  const ENHANCED = amfObject({ app: 'live', capsEx: 1, fourCcList: ['hvc1', 'av01'] });

  test('is answered truthfully, and only when it announced something', async () => {
    await rig.start();
    const [plain, enhanced] = [rig.client().handshake(), rig.client().handshake()];
    plain.connectApp();
    enhanced.command('connect', ENHANCED);
    await Promise.all([plain, enhanced].map((one) => one.until(() => one.commands('_result').length > 0)));
    const propertiesOf = (one: typeof plain): ReadonlyMap<string, AmfValue> =>
      one.commands('_result')[0]?.[2] as ReadonlyMap<string, AmfValue>;
    expect([...propertiesOf(plain).keys()]).toEqual(['fmsVer', 'capabilities']);
    expect(propertiesOf(enhanced).get('fourCcList')).toEqual(
      expect.arrayContaining(['avc1', 'hvc1', 'vp09', 'av01', 'Opus', 'mp4a']),
    );
    expect(propertiesOf(enhanced).get('capsEx')).toBe(1 | 4);
    expect(propertiesOf(enhanced).get('audioFourCcInfoMap')).toEqual(
      new Map([
        ['Opus', 4],
        ['mp4a', 1],
      ]),
    );
  });

  test('decides who is asked to reconnect', async () => {
    const listeners = await rig.start();
    const understands = rig.client().handshake().command('connect', ENHANCED);
    understands.command('createStream', null).command('publish', null, 'right', 'live');
    const plain = rig.client().publish('right');
    await Promise.all([understands.status(), plain.status()]);
    listeners.requestReconnect('about to stop');
    await understands.until(() => understands.statuses().length > 1);
    expect(understands.statuses()[1]).toEqual({
      level: 'status',
      code: 'NetConnection.Connect.ReconnectRequest',
      description: 'about to stop',
    });
    // Both go on; the answer to a message behind it shows that nothing else came.
    plain
      .send({ ...uint32Message(RTMP_MESSAGE.windowAcknowledgementSize, 64_000) }, 2)
      .video(0, Buffer.alloc(64_000));
    await plain.until(() => plain.messages.some(({ typeId }) => typeId === RTMP_MESSAGE.acknowledgement));
    expect(plain.statuses()).toHaveLength(1);
    understands.video(0, Buffer.from('still here'));
    await expect
      .poll(() => rig.published.every(({ media }) => media.length === 1), { timeout: 15_000 })
      .toBe(true);
  });
});
