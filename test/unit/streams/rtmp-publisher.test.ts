import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { createLogger } from '../../../services/base/logger.ts';
import { openRtmpLink } from '../../../services/egress/streams/rtmp-publisher.ts';
import type { FlvMessage, StreamLink } from '../../../services/egress/streams/stream-link.ts';
import { parseStreamUrl, type RtmpAddress } from '../../../services/model/stream-url.ts';
import { amfObject, decodeAmf0, encodeAmf0, type AmfValue } from '../../../services/protocol/amf0.ts';
import { ChunkReader, ChunkWriter } from '../../../services/protocol/rtmp-chunk.ts';
import { ServerHandshake } from '../../../services/protocol/rtmp-handshake.ts';
import {
  peerBandwidthMessage,
  RTMP_MESSAGE,
  uint32Message,
  USER_CONTROL,
  userControlMessage,
  type RtmpMessage,
} from '../../../services/protocol/rtmp-message.ts';

const KEY = 'sk-very-secret-key';
const servers: Server[] = [];
const links: StreamLink[] = [];

afterEach(() => {
  for (const link of links.splice(0)) {
    link.destroy(new Error('test over'));
  }
  for (const server of servers.splice(0)) {
    server.close();
  }
});

type Platform = {
  url: string;
  messages: RtmpMessage[];
  send: (message: RtmpMessage) => void;
  hangUp: () => void;
  /** Resolves when a message fits. */
  got: (fits: (message: RtmpMessage) => boolean) => Promise<RtmpMessage>;
};

/** A platform whose answers to commands the test writes: name of the command → arguments of the answer. */
async function startPlatform(
  answer: (
    name: string,
    transaction: AmfValue,
    reply: (...values: AmfValue[]) => void,
    socket: Socket,
  ) => void,
): Promise<Platform> {
  const messages: RtmpMessage[] = [];
  const waiting = new Set<() => void>();
  let connection: Socket | undefined;
  const writer = new ChunkWriter();
  const send = (message: RtmpMessage): void => void connection?.write(writer.write(3, message));
  const server = createServer((socket) => {
    connection = socket;
    socket.on('error', () => undefined);
    const handshake = new ServerHandshake();
    const reader = new ChunkReader({
      maxMessageBytes: 1e6,
      maxBufferedBytes: 1e6,
      maxChunkStreams: 64,
      maxTrustedBytes: 0,
    });
    let isOpen = false;
    const read = (data: Buffer): void => {
      reader.push(data, (message) => {
        messages.push(message);
        if (message.typeId === RTMP_MESSAGE.commandAmf0) {
          const [name, transaction] = decodeAmf0(message.payload);
          answer(
            typeof name === 'string' ? name : '',
            transaction,
            (...values) => {
              send({
                typeId: RTMP_MESSAGE.commandAmf0,
                messageStreamId: 0,
                timestampMs: 0,
                payload: encodeAmf0(values),
              });
            },
            socket,
          );
        }
        for (const check of [...waiting]) {
          check();
        }
      });
    };
    socket.on('data', (data) => {
      if (isOpen) {
        read(data);
        return;
      }
      const step = handshake.push(data);
      socket.write(step.reply);
      if (step.done) {
        isOpen = true;
        read(step.rest);
      }
    });
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `rtmp://127.0.0.1:${(server.address() as AddressInfo).port}/live/${KEY}`,
    messages,
    send,
    hangUp: () => connection?.destroy(),
    got: (fits) =>
      new Promise((resolve) => {
        const check = (): void => {
          const found = messages.find(fits);
          if (found !== undefined) {
            waiting.delete(check);
            resolve(found);
          }
        };
        waiting.add(check);
        check();
      }),
  };
}

const status = (level: string, code: string, description = ''): AmfValue[] => [
  'onStatus',
  0,
  null,
  amfObject({ level, code, description }),
];

/** What a friendly platform says. */
function friendly(name: string, transaction: AmfValue, reply: (...values: AmfValue[]) => void): void {
  switch (name) {
    case 'connect':
      reply('_result', transaction, null, amfObject({ code: 'NetConnection.Connect.Success' }));
      break;
    case 'releaseStream':
      reply('_error', transaction, null, null);
      break;
    case 'createStream':
      reply('_result', transaction, null, 42);
      break;
    case 'publish':
      reply(...status('status', 'NetStream.Publish.Start'));
      break;
  }
}

async function open(url: string, openTimeoutMs = 2000): Promise<StreamLink> {
  const link = await openRtmpLink({
    address: parseStreamUrl(url) as RtmpAddress,
    signal: new AbortController().signal,
    metadata: () => amfObject({ width: 320 }),
    logger: createLogger({ level: 'silent' }),
    openTimeoutMs,
  });
  links.push(link);
  return link;
}

const commands = (platform: Platform): AmfValue[][] =>
  platform.messages
    .filter(({ typeId }) => typeId === RTMP_MESSAGE.commandAmf0)
    .map(({ payload }) => decodeAmf0(payload));

const config = [Buffer.from('config')];
const frame = (ms: number): FlvMessage => ({
  ...{ kind: 'video', startsDecoding: true, dtsUs: 7_000_000 + ms * 1000 },
  ...{ body: [Buffer.from('frame'), Buffer.alloc(100_000, ms)], bytes: 100_005, config },
});

describe('publishing', () => {
  it('asks in the order platforms expect, announces, and says goodbye', async () => {
    const platform = await startPlatform(friendly);
    const link = await open(platform.url);
    await new Promise<void>((resolve) => link.write([frame(0), frame(40)], resolve));
    expect(link.sentBytes).toBeGreaterThan(200_000);
    await link.finish();
    await platform.got(({ payload }) => payload.includes('deleteStream'));
    expect(commands(platform).map(([name, , , argument]) => [name, argument])).toEqual([
      ['connect', undefined],
      ['releaseStream', KEY],
      ['FCPublish', KEY],
      ['createStream', undefined],
      ['publish', KEY],
      ['FCUnpublish', KEY],
      ['deleteStream', 42],
    ]);
    const connect = commands(platform)[0]?.[2] as ReadonlyMap<string, AmfValue>;
    expect(connect.get('app')).toBe('live');
    expect(connect.get('tcUrl')).toBe(platform.url.replace(`/${KEY}`, ''));
    const media = platform.messages.filter(({ messageStreamId }) => messageStreamId === 42).slice(1);
    expect(media.map(({ typeId, timestampMs, payload }) => [typeId, timestampMs, payload.length])).toEqual([
      [
        RTMP_MESSAGE.dataAmf0,
        0,
        encodeAmf0(['@setDataFrame', 'onMetaData', amfObject({ width: 320 })]).length,
      ],
      [RTMP_MESSAGE.video, 0, 6],
      [RTMP_MESSAGE.video, 0, 100_005],
      [RTMP_MESSAGE.video, 40, 100_005],
    ]);
  });

  it('answers pings and bandwidth, and acknowledges what it receives', async () => {
    const platform = await startPlatform(friendly);
    await open(platform.url);
    platform.send(userControlMessage(USER_CONTROL.pingRequest, 1234));
    platform.send(peerBandwidthMessage(5_000_000));
    platform.send(uint32Message(RTMP_MESSAGE.windowAcknowledgementSize, 100));
    platform.send({ typeId: 99, messageStreamId: 0, timestampMs: 0, payload: Buffer.alloc(200) });
    const pong = await platform.got(({ typeId }) => typeId === RTMP_MESSAGE.userControl);
    expect([pong.payload.readUInt16BE(), pong.payload.readUInt32BE(2)]).toEqual([
      USER_CONTROL.pingResponse,
      1234,
    ]);
    const window = await platform.got(({ typeId }) => typeId === RTMP_MESSAGE.windowAcknowledgementSize);
    expect(window.payload.readUInt32BE()).toBe(5_000_000);
    platform.send({ typeId: 99, messageStreamId: 0, timestampMs: 0, payload: Buffer.alloc(200) });
    const acknowledged = await platform.got(({ typeId }) => typeId === RTMP_MESSAGE.acknowledgement);
    expect(acknowledged.payload.readUInt32BE()).toBeGreaterThan(3000);
  });

  it.each<[string, Parameters<typeof startPlatform>[0], RegExp]>([
    [
      'connect is rejected',
      (_name, transaction, reply) => {
        const info = {
          level: 'error',
          code: 'NetConnection.Connect.Rejected',
          description: `no app for ${KEY}`,
        };
        reply('_error', transaction, null, amfObject(info));
      },
      /^127\.0\.0\.1 refused \(connect\): NetConnection\.Connect\.Rejected, no app for \{sk-\.\.\.key\}$/,
    ],
    [
      'the name is taken',
      (name, transaction, reply) =>
        name === 'publish'
          ? reply(...status('error', 'NetStream.Publish.BadName', `Already publishing live/${KEY}`))
          : friendly(name, transaction, reply),
      /^127\.0\.0\.1 refused: NetStream\.Publish\.BadName, Already publishing/,
    ],
    [
      'it hangs up on the key',
      (name, transaction, reply, socket) =>
        name === 'publish' ? void socket.destroy() : friendly(name, transaction, reply),
      /when asked to publish: is the stream key right\?/,
    ],
    ['it never answers', () => undefined, /^127\.0\.0\.1 did not answer within 0\.3 s \(connect\)$/],
    [
      'the stream it creates is none',
      (name, transaction, reply) =>
        name === 'createStream'
          ? reply('_result', transaction, null, 'x')
          : friendly(name, transaction, reply),
      /without a stream/,
    ],
    [
      'its commands are garbage',
      (_name, _transaction, _reply, socket) => socket.write(Buffer.alloc(4096, 0xff)),
      /does not speak RTMP/,
    ],
  ])('is refused with the host and the reason when %s', async (_name, answer, reason) => {
    const platform = await startPlatform(answer);
    const error = await open(platform.url, 300).catch((caught: unknown) => caught);
    expect(error).toMatchObject({
      code: 'unavailable',
      blame: 'destination',
      message: expect.stringMatching(reason) as string,
    });
    expect((error as Error).message).not.toContain(KEY);
  });

  it.each<[string, (platform: Platform) => void, RegExp]>([
    [
      'ends the stream',
      (platform) =>
        platform.send({
          ...{ typeId: RTMP_MESSAGE.commandAmf0, messageStreamId: 42, timestampMs: 0 },
          payload: encodeAmf0(status('status', 'NetStream.Unpublish.Success', 'bye')),
        }),
      /ended the stream: NetStream\.Unpublish\.Success, bye/,
    ],
    ['hangs up', (platform) => platform.hangUp(), /127\.0\.0\.1 (closed the connection|connection lost)/],
  ])('is over when the platform %s', async (_name, act, reason) => {
    const platform = await startPlatform(friendly);
    const link = await open(platform.url);
    act(platform);
    expect((await link.closed).message).toMatch(reason);
  });

  it('stops connecting when it is told to', async () => {
    const platform = await startPlatform(() => undefined);
    const abort = new AbortController();
    const opening = openRtmpLink({
      address: parseStreamUrl(platform.url) as RtmpAddress,
      signal: abort.signal,
      metadata: () => amfObject({}),
      logger: createLogger({ level: 'silent' }),
    });
    await platform.got(({ typeId }) => typeId === RTMP_MESSAGE.commandAmf0);
    abort.abort();
    await expect(opening).rejects.toMatchObject({ code: 'canceled' });
  });
});
