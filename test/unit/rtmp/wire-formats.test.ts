import { describe, expect, test } from 'vitest';
import { ServiceError } from '../../../services/base/errors.ts';
import { amfObject, decodeAmf0, encodeAmf0, type AmfValue } from '../../../services/protocol/amf0.ts';
import {
  FLV_TAG,
  flvFileHeader,
  FlvReader,
  flvTag,
  flvVideoBody,
  parseFlvAudio,
  parseFlvVideo,
} from '../../../services/protocol/flv.ts';
import { ChunkReader, ChunkWriter } from '../../../services/protocol/rtmp-chunk.ts';
import { ServerHandshake } from '../../../services/protocol/rtmp-handshake.ts';
import { splitAggregate, type RtmpMessage } from '../../../services/protocol/rtmp-message.ts';

const LIMITS = {
  maxMessageBytes: 1_000_000,
  maxBufferedBytes: 2_000_000,
  maxChunkStreams: 8,
  maxTrustedBytes: 0,
};

function readAll(bytes: Uint8Array, pieceBytes = bytes.length, limits = LIMITS): RtmpMessage[] {
  const reader = new ChunkReader(limits);
  const messages: RtmpMessage[] = [];
  for (let offset = 0; offset < bytes.length; offset += pieceBytes) {
    reader.push(bytes.subarray(offset, offset + pieceBytes), (message) => messages.push(message));
  }
  return messages;
}

function message(payloadBytes: number, rest: Partial<RtmpMessage> = {}): RtmpMessage {
  const payload = Buffer.from(Uint8Array.from({ length: payloadBytes }, (_, i) => i * 7));
  return { typeId: 9, messageStreamId: 1, timestampMs: 40, payload, ...rest };
}

/** A chunk by hand: format, chunk stream id, header fields, payload. */
function chunk(format: number, id: number, header: readonly number[], payload: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from([(format << 6) | id, ...header]), payload]);
}

describe('chunks', () => {
  test.each([1, 2, 127, 128, 4096, 65_536])(
    'messages survive chunks of %i bytes, in pieces of any size',
    (size) => {
      const writer = new ChunkWriter();
      const announce = Buffer.alloc(4);
      announce.writeUInt32BE(size);
      const first = writer.write(2, message(0, { typeId: 1, payload: announce, messageStreamId: 0 }));
      writer.setChunkBytes(size);
      const sent = [message(1), message(5_000), message(130, { timestampMs: 0xffffff }), message(0)];
      const ids = [3, 70, 400, 65_599];
      const bytes = Buffer.concat([
        first,
        ...sent.map((m, i) => writer.write(ids[i] ?? 3, m)),
        writer.write(3, sent[0] ?? message(1)),
      ]);
      for (const piece of [1, 13, 1_460, bytes.length]) {
        expect(readAll(bytes, piece)).toEqual([...sent, sent[0]]);
      }
    },
  );

  test('interleaved chunk streams are put together apart', () => {
    const audio = Buffer.alloc(200, 1);
    const video = Buffer.alloc(300, 2);
    const bytes = Buffer.concat([
      chunk(0, 4, [0, 0, 10, 0, 0, 200, 8, 1, 0, 0, 0], audio.subarray(0, 128)),
      chunk(0, 6, [0, 0, 20, 0, 1, 44, 9, 1, 0, 0, 0], video.subarray(0, 128)),
      chunk(3, 4, [], audio.subarray(128)),
      chunk(3, 6, [], video.subarray(128, 256)),
      chunk(3, 6, [], video.subarray(256)),
    ]);
    expect(readAll(bytes).map(({ typeId, timestampMs, payload }) => [typeId, timestampMs, payload])).toEqual([
      [8, 10, audio],
      [9, 20, video],
    ]);
  });

  test('header types 1, 2 and 3 repeat what they leave out; deltas add up and wrap', () => {
    const p = Buffer.from([9]);
    const bytes = Buffer.concat([
      chunk(0, 5, [0xff, 0xff, 0xff, 0, 0, 1, 8, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xf0], p),
      chunk(1, 5, [0, 0, 5, 0, 0, 1, 9], p),
      chunk(2, 5, [0, 0, 20], p),
      chunk(3, 5, [], p),
    ]);
    expect(readAll(bytes).map(({ typeId, timestampMs }) => [typeId, timestampMs])).toEqual([
      [8, 0xfffffff0],
      [9, 0xfffffff5],
      [9, 9],
      [9, 29],
    ]);
  });

  test.each([
    ['repeated', [1, 2, 3, 4]],
    ['left out', []],
  ])('extended timestamps %s in type 3 chunks', (_case, repeated) => {
    const payload = Buffer.alloc(130, 7);
    const bytes = Buffer.concat([
      chunk(0, 5, [0xff, 0xff, 0xff, 0, 0, 130, 9, 1, 0, 0, 0, 1, 2, 3, 4], payload.subarray(0, 128)),
      chunk(3, 5, repeated, payload.subarray(128)),
      chunk(0, 5, [0, 0, 1, 0, 0, 1, 9, 1, 0, 0, 0], Buffer.from([1])),
    ]);
    expect(readAll(bytes).map(({ timestampMs, payload: p }) => [timestampMs, p.length])).toEqual([
      [0x01020304, 130],
      [1, 1],
    ]);
  });

  test('abort throws away what one chunk stream has begun', () => {
    const abort = chunk(0, 2, [0, 0, 0, 0, 0, 4, 2, 0, 0, 0, 0], Buffer.from([0, 0, 0, 5]));
    const bytes = Buffer.concat([
      chunk(0, 5, [0, 0, 0, 0, 1, 44, 9, 1, 0, 0, 0], Buffer.alloc(128, 1)),
      abort,
      chunk(0, 5, [0, 0, 0, 0, 0, 2, 9, 1, 0, 0, 0], Buffer.from([5, 5])),
    ]);
    expect(readAll(bytes).map(({ payload }) => [...payload])).toEqual([[5, 5]]);
  });

  test.each([
    ['type 3 first', chunk(3, 5, [], Buffer.from([1])), 'starts without a message header'],
    ['type 2 first', chunk(2, 5, [0, 0, 1], Buffer.from([1])), 'starts without a message header'],
    [
      '16 MB declared',
      chunk(0, 5, [0, 0, 0, 0xff, 0xff, 0xff, 9, 1, 0, 0, 0], Buffer.from([1])),
      'above the limit',
    ],
    [
      'a message inside a message',
      Buffer.concat([
        chunk(0, 5, [0, 0, 0, 0, 1, 44, 9, 1, 0, 0, 0], Buffer.alloc(128)),
        chunk(0, 5, [0, 0, 0, 0, 0, 1, 9, 1, 0, 0, 0], Buffer.from([1])),
      ]),
      'starts inside another',
    ],
    ['chunk size 0', chunk(0, 2, [0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0], Buffer.alloc(4)), 'chunk size 0'],
    [
      'chunk size with the top bit',
      chunk(0, 2, [0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0], Buffer.from([0x80, 0, 0, 1])),
      'chunk size',
    ],
    [
      'a flood of chunk streams',
      Buffer.concat(
        Array.from({ length: 9 }, (_, i) =>
          chunk(0, 3 + i, [0, 0, 0, 0, 1, 0, 9, 1, 0, 0, 0], Buffer.alloc(128)),
        ),
      ),
      'more than 8 chunk streams',
    ],
  ])('%s is refused', (_case, bytes, reason) => {
    expect(() => readAll(bytes)).toThrow(reason);
  });

  test('declared lengths cost nothing, received bytes are counted over all streams', () => {
    const limits = {
      maxMessageBytes: 0xffffff,
      maxBufferedBytes: 1_000,
      maxChunkStreams: 1_000,
      maxTrustedBytes: 0,
    };
    const reader = new ChunkReader(limits);
    const before = process.memoryUsage().arrayBuffers;
    for (let id = 3; id < 10; id++) {
      reader.push(
        chunk(0, id, [0, 0, 0, 0xff, 0xff, 0xff, 9, 1, 0, 0, 0], Buffer.alloc(128)),
        () => undefined,
      );
    }
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1_000_000);
    expect(reader.bufferedBytes).toBe(7 * 128);
    expect(() => {
      reader.push(
        chunk(0, 20, [0, 0, 0, 0xff, 0xff, 0xff, 9, 1, 0, 0, 0], Buffer.alloc(128)),
        () => undefined,
      );
    }).toThrow('hold more than 1000 bytes');
  });

  test('aggregates are taken apart; their times move with the outer one', () => {
    const inner = (typeId: number, timeMs: number, body: readonly number[]): Buffer =>
      flvTag(typeId, timeMs, [Buffer.from(body)]);
    const payload = Buffer.concat([
      inner(8, 1_000, [1]),
      inner(9, 1_020, [2, 2]),
      inner(9, 1_040, [3]).subarray(0, 8),
    ]);
    const parts = splitAggregate(message(0, { typeId: 22, timestampMs: 500, payload }));
    expect(parts.map(({ typeId, timestampMs, payload: p }) => [typeId, timestampMs, [...p]])).toEqual([
      [8, 500, [1]],
      [9, 520, [2, 2]],
    ]);
  });
});

describe('handshake', () => {
  test('answers after C1 with its echo, is done after C2, keeps what follows', () => {
    const handshake = new ServerHandshake();
    const c1 = Buffer.alloc(1536, 5);
    expect(handshake.push(Buffer.from([3])).reply).toHaveLength(0);
    const step = handshake.push(c1);
    expect(step).toMatchObject({ done: false });
    expect(step.reply).toHaveLength(1 + 2 * 1536);
    expect(step.reply.subarray(1 + 1536)).toEqual(c1);
    expect(handshake.push(Buffer.alloc(1535))).toMatchObject({ done: false });
    expect(handshake.push(Buffer.from([0, 1, 2]))).toEqual({
      done: true,
      reply: Buffer.alloc(0),
      rest: Buffer.from([1, 2]),
    });
  });

  test.each(['GET / HTTP/1.1\r\n', '\x16\x03\x01\x02\x00', '\x06'])(
    '%j is not RTMP, told by its first byte',
    (text) => {
      expect(() => new ServerHandshake().push(Buffer.from(text, 'latin1'))).toThrow('handshake version');
    },
  );
});

describe('AMF0', () => {
  test('values survive', () => {
    const values: AmfValue[] = [
      'connect',
      1.5,
      true,
      null,
      undefined,
      amfObject({ app: 'live', nested: amfObject({ list: [1, 'two', false] }), ü: '☃' }),
      'x'.repeat(70_000),
    ];
    expect(decodeAmf0(encodeAmf0(values))).toEqual(values);
  });

  test('ECMA arrays, typed objects, dates and XML are read', () => {
    const key = [0, 1, 0x61];
    const end = [0, 0, 9];
    const number = [0, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0];
    expect(decodeAmf0(Buffer.from([8, 0xff, 0xff, 0xff, 0xff, ...key, ...number, ...end]))).toEqual([
      new Map([['a', 1]]),
    ]);
    expect(decodeAmf0(Buffer.from([16, 0, 1, 0x43, ...key, 5, ...end]))).toEqual([new Map([['a', null]])]);
    expect(decodeAmf0(Buffer.from([11, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0, 0, 0]))).toEqual([1]);
    expect(decodeAmf0(Buffer.from([15, 0, 0, 0, 1, 0x3c]))).toEqual(['<']);
  });

  test('keys mean nothing to JavaScript', () => {
    const object = new Map<string, AmfValue>([['constructor', 1]]);
    object.set('__proto__', amfObject({ polluted: true }));
    const [value] = decodeAmf0(encodeAmf0([object]));
    expect(value).toBeInstanceOf(Map);
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
  });

  test.each([
    [
      '20 000 nested objects',
      Buffer.concat(Array.from({ length: 20_000 }, () => Buffer.from([3, 0, 1, 0x61]))),
      'nested deeper',
    ],
    [
      '20 000 nested arrays',
      Buffer.concat(Array.from({ length: 20_000 }, () => Buffer.from([10, 0, 0, 0, 1]))),
      'nested deeper',
    ],
    ['a strict array of 4 billion', Buffer.from([10, 0xff, 0xff, 0xff, 0xff, 5]), 'cut off'],
    ['5 000 values', Buffer.alloc(5_000, 5), 'more than 1024 values'],
    ['a string longer than the message', Buffer.from([2, 0xff, 0xff, 0x61]), 'cut off'],
    ['a long string of 4 GB', Buffer.from([12, 0xff, 0xff, 0xff, 0xff]), 'cut off'],
    ['half a number', Buffer.from([0, 1, 2]), 'cut off'],
    ['a reference', Buffer.from([7, 0, 0]), 'marker 7'],
    ['AMF3', Buffer.from([17, 1]), 'marker 17'],
    ['an unknown marker', Buffer.from([0x7f]), 'marker 127'],
  ])('%s is refused', (_case, data, reason) => {
    expect(() => decodeAmf0(data)).toThrow(reason);
    expect(() => decodeAmf0(data)).toThrow(ServiceError);
  });
});

describe('FLV', () => {
  test('composition times are signed', () => {
    const body = Buffer.concat(
      flvVideoBody({ packet: 'frame', key: false, compositionMs: -66, data: Buffer.from([1]) }),
    );
    expect(parseFlvVideo(body)).toEqual({
      packet: 'frame',
      key: false,
      compositionMs: -66,
      data: Buffer.from([1]),
    });
  });

  test('sequence header, end, seeking information and empty messages', () => {
    expect(parseFlvVideo(Buffer.from([0x17, 0, 0, 0, 0, 9]))).toEqual({
      packet: 'config',
      data: Buffer.from([9]),
    });
    expect(parseFlvVideo(Buffer.from([0x17, 2, 0, 0, 0]))).toEqual({ packet: 'end' });
    expect(parseFlvVideo(Buffer.from([0x57, 0]))).toEqual({ packet: 'info' });
    expect(parseFlvVideo(Buffer.alloc(0))).toBeUndefined();
    expect(parseFlvAudio(Buffer.from([0xaf, 0, 0x12, 0x10]))).toEqual({
      codec: 'aac',
      audio: { packet: 'config', data: Buffer.from([0x12, 0x10]) },
    });
    expect(parseFlvAudio(Buffer.from([0xaf, 1, 7]))?.audio).toEqual({
      packet: 'frame',
      data: Buffer.from([7]),
    });
    expect(parseFlvAudio(Buffer.alloc(0))).toBeUndefined();
  });

  test.each([
    [0x2f, 'mp3', undefined],
    [0xef, 'mp3', undefined],
    [0x3f, 'pcm_s16le', { sampleRateHz: 44_100, channels: 2 }],
    [0x3a, 'pcm_s16le', { sampleRateHz: 22_050, channels: 1 }],
    [0x72, 'pcma', { sampleRateHz: 8_000, channels: 1 }],
    [0x83, 'pcmu', { sampleRateHz: 8_000, channels: 2 }],
  ])('sound that begins with %i is %s', (first, codec, raw) => {
    const audio = { packet: 'frame', data: Buffer.from([9]) };
    expect(parseFlvAudio(Buffer.from([first, 9]))).toEqual({
      ...{ codec, audio },
      ...(raw === undefined ? {} : { raw }),
    });
  });

  test.each([
    [
      parseFlvVideo,
      Buffer.from([0x90, ...Buffer.from('hvc1')]),
      'codec "hvc1" of Enhanced RTMP; set the encoder to H.264',
    ],
    [parseFlvVideo, Buffer.from([0x90, 1, 2, 3, 4]), 'codec 0x01020304'],
    [parseFlvVideo, Buffer.from([0x1c, 1, 0, 0, 0]), 'HEVC (codec id 12)'],
    [parseFlvVideo, Buffer.from([0x12, 0]), 'Sorenson H.263'],
    [
      parseFlvAudio,
      Buffer.from([0x90, ...Buffer.from('Opus')]),
      'codec "Opus" of Enhanced RTMP; set the encoder to AAC',
    ],
    [parseFlvAudio, Buffer.from([0xbf, 0]), 'Speex'],
    [parseFlvAudio, Buffer.from([0x3d, 0]), '8-bit PCM'],
    [parseFlvAudio, Buffer.from([0x6f, 0]), 'Nellymoser'],
    [parseFlvVideo, Buffer.from([0x17, 1]), 'cut off'],
    [parseFlvVideo, Buffer.from([0x17, 9, 0, 0, 0]), 'AVC packet type 9'],
    [parseFlvAudio, Buffer.from([0xaf]), 'cut off'],
  ])('%o refuses %o by name', (parse, body, reason) => {
    expect(() => parse(body)).toThrow(reason);
  });

  test('a file is taken apart at any cut', () => {
    const tags = [
      flvTag(FLV_TAG.video, 0xfedcba98, [Buffer.from([1, 2]), Buffer.from([3])]),
      flvTag(FLV_TAG.audio, 5, [Buffer.alloc(0)]),
    ];
    const bytes = Buffer.concat([flvFileHeader({ audio: true, video: true }), ...tags]);
    for (const piece of [1, 7, bytes.length]) {
      const reader = new FlvReader();
      const read = [];
      for (let offset = 0; offset < bytes.length; offset += piece) {
        read.push(...reader.push(bytes.subarray(offset, offset + piece)));
      }
      expect(read.map(({ typeId, timestampMs, body }) => [typeId, timestampMs, [...body]])).toEqual([
        [9, 0xfedcba98, [1, 2, 3]],
        [8, 5, []],
      ]);
    }
  });
});
