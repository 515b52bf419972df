import { describe, expect, it } from 'vitest';
import { FlvMessages } from '../../../services/egress/streams/flv-messages.ts';
import { Interleaver } from '../../../services/egress/streams/interleaver.ts';
import { LinkClock } from '../../../services/egress/streams/link-clock.ts';
import { MediaQueue } from '../../../services/egress/streams/media-queue.ts';
import type { FlvMessage } from '../../../services/egress/streams/stream-link.ts';
import { joinAnnexB } from '../../../services/media/codecs/h264.ts';
import { parseAvcConfig } from '../../../services/media/codecs/h264-avcc.ts';
import type { EncodedPacket } from '../../../services/model/packet.ts';
import { chunkMessages } from '../../../services/protocol/rtmp-chunk-batch.ts';
import { ChunkReader } from '../../../services/protocol/rtmp-chunk.ts';
import { parseFlvVideo } from '../../../services/protocol/flv.ts';
import { uint32Message, RTMP_MESSAGE, type RtmpMessage } from '../../../services/protocol/rtmp-message.ts';
import { SPS } from '../../support/h264-samples.ts';

const PPS = Uint8Array.of(0x68, 0xce, 0x3c, 0x80);
const CONFIG = [Buffer.from([1])];

function message(kind: 'video' | 'audio', ms: number, startsDecoding = false, bytes = 100): FlvMessage {
  return { kind, startsDecoding, dtsUs: ms * 1000, body: [], bytes, config: CONFIG };
}

describe('chunks of many messages', () => {
  it.each([128, 4096, 60_000])(
    'are read back whole, %i bytes a chunk, extended timestamps included',
    (chunkBytes) => {
      const sent = [0, 1, 40, 0xffffff - 1, 0xffffff, 0x1000000, 0xffffffff].map((timestampMs, index) => ({
        chunkStreamId: index % 2 === 0 ? 4 : 6,
        typeId: RTMP_MESSAGE.video,
        messageStreamId: 7,
        timestampMs,
        body: [
          Buffer.alloc(index * 1000, index),
          Buffer.alloc(index === 3 ? 0 : chunkBytes - 1, 9),
          Buffer.from([1, 2]),
        ],
      }));
      const reader = new ChunkReader({
        maxMessageBytes: 1e6,
        maxBufferedBytes: 1e6,
        maxChunkStreams: 8,
        maxTrustedBytes: 0,
      });
      const received: RtmpMessage[] = [];
      const announce = chunkMessages(
        [
          {
            ...uint32Message(RTMP_MESSAGE.setChunkSize, chunkBytes),
            chunkStreamId: 2,
            body: [uint32Message(1, chunkBytes).payload],
          },
        ],
        128,
      );
      const stream = Buffer.concat([announce, chunkMessages(sent, chunkBytes)]);
      for (let at = 0; at < stream.length; at += 997) {
        reader.push(stream.subarray(at, at + 997), (got) => received.push(got));
      }
      expect(received.map(({ timestampMs, messageStreamId }) => [timestampMs, messageStreamId])).toEqual(
        sent.map(({ timestampMs, messageStreamId }) => [timestampMs, messageStreamId]),
      );
      received.forEach(({ payload }, index) => {
        expect(payload.equals(Buffer.concat(sent[index]?.body ?? []))).toBe(true);
      });
    },
  );
});

describe('the queue of one destination', () => {
  const limits = { maxBytes: 1000, maxUs: 1e9 };

  it('starts at a key frame', () => {
    const queue = new MediaQueue(limits);
    queue.push(message('audio', 0));
    queue.push(message('video', 10));
    queue.push(message('video', 20, true));
    queue.push(message('audio', 25));
    expect(queue.take(1e6).map(({ dtsUs }) => dtsUs / 1000)).toEqual([20, 25]);
  });

  it('jumps to its newest key frame when it is late, and to the next one when it has none', () => {
    const queue = new MediaQueue(limits);
    for (let ms = 0; ms < 1100; ms += 100) {
      queue.push(message('video', ms, ms === 0 || ms === 800));
    }
    expect(queue.dropped).toBe(8);
    expect(queue.take(1e6).map(({ dtsUs }) => dtsUs / 1000)).toEqual([800, 900, 1000]);
    for (let ms = 2000; ms < 4000; ms += 100) {
      queue.push(message('video', ms, ms === 2000));
    }
    expect(queue.bytes).toBe(0);
    queue.push(message('video', 4000));
    queue.push(message('video', 4100, true));
    expect(queue.take(1e6).map(({ dtsUs }) => dtsUs / 1000)).toEqual([4100]);
  });

  it('holds no more than its time either, and takes one message however large', () => {
    const queue = new MediaQueue({ maxBytes: 1e9, maxUs: 500_000 });
    for (let ms = 0; ms <= 600; ms += 100) {
      queue.push(message('audio', ms, true));
    }
    expect(queue.take(1)).toHaveLength(1);
    expect(queue.dropped).toBeGreaterThan(0);
  });
});

describe('interleaving', () => {
  it('orders by decode time and waits for the slower track only so long', () => {
    const out: [string, number][] = [];
    const interleaver = new Interleaver(['video', 'audio'], ({ kind, dtsUs }) =>
      out.push([kind, dtsUs / 1000]),
    );
    for (const ms of [0, 33, 66, 99]) {
      interleaver.push(message('video', ms));
    }
    expect(out).toEqual([]);
    interleaver.push(message('audio', 20));
    interleaver.push(message('audio', 40));
    expect(out).toEqual([
      ['video', 0],
      ['audio', 20],
      ['video', 33],
      ['audio', 40],
    ]);
    interleaver.push(message('video', 5000));
    expect(out.at(-1)).toEqual(['video', 99]);
    interleaver.push(message('audio', 1000));
    expect(out.at(-1)).toEqual(['audio', 1000]);
    interleaver.flush();
    expect(out.at(-1)).toEqual(['video', 5000]);
  });

  it('waits longer for a track that has not begun: receivers never play what the beginning lacks', () => {
    const out: [string, number][] = [];
    const interleaver = new Interleaver(['video', 'audio'], ({ kind, dtsUs }) =>
      out.push([kind, dtsUs / 1000]),
    );
    for (const ms of [0, 3000, 6000, 9000]) {
      interleaver.push(message('video', ms));
    }
    expect(out).toEqual([]);
    interleaver.push(message('audio', 10));
    expect(out.slice(0, 2)).toEqual([
      ['video', 0],
      ['audio', 10],
    ]);
  });

  it('gives each track its own clock per connection, late sound its true time', () => {
    const clock = new LinkClock();
    expect(clock.timestampMs(message('video', 5000, true))).toBe(0);
    expect(clock.timestampMs(message('audio', 4990))).toBeUndefined();
    expect(clock.timestampMs(message('video', 6000))).toBe(1000);
    expect(clock.timestampMs(message('audio', 5010))).toBe(10);
    expect(clock.timestampMs(message('video', 5900))).toBe(1000);
  });
});

describe('FLV messages', () => {
  const idr = Uint8Array.of(0x65, 0x88, 1);
  const slice = Uint8Array.of(0x41, 0x9a, 2);
  const video = (ms: number, nals: Uint8Array[], key: boolean, ptsMs = ms): EncodedPacket => ({
    kind: 'video',
    ptsUs: ptsMs * 1000,
    dtsUs: ms * 1000,
    durationUs: 0,
    key,
    data: joinAnnexB(nals),
  });
  const sound = (ms: number): EncodedPacket => ({
    ...{ kind: 'audio', ptsUs: ms * 1000, dtsUs: ms * 1000 },
    ...{ durationUs: 0, key: true, data: Uint8Array.of(7) },
  });
  const aac = (description: Uint8Array) =>
    ({ kind: 'audio', codec: 'aac', sampleRateHz: 44_100, channels: 2, description }) as const;

  it('keep parameter sets in one configuration until they change, and name the composition time', () => {
    const messages = new FlvMessages(['video']);
    messages.addTrack({ kind: 'video', codec: 'h264', width: 1, height: 1 });
    expect(messages.build(video(0, [slice], false))).toBeUndefined();
    const delimiter = Uint8Array.of(9, 0xf0);
    const first = messages.build(video(0, [delimiter, SPS.baseline, PPS, idr], true, 66));
    const again = messages.build(video(1000, [SPS.baseline, PPS, idr], true));
    const changed = messages.build(video(2000, [SPS.mainWithBFrames, PPS, idr], true));
    expect(first?.startsDecoding).toBe(true);
    expect(again?.config).toBe(first?.config);
    expect(changed?.config).not.toBe(first?.config);
    const frame = parseFlvVideo(Buffer.concat(first?.body ?? []));
    expect(frame).toMatchObject({ packet: 'frame', key: true, compositionMs: 66 });
    expect(frame?.packet === 'frame' && frame.data.equals(Buffer.from([0, 0, 0, 3, ...idr]))).toBe(true);
    expect(parseAvcConfig(first?.config[1] ?? new Uint8Array()).sps).toEqual([Buffer.from(SPS.baseline)]);
  });

  it('let sound start a stream only where there is no picture to wait for', () => {
    const both = new FlvMessages(['video', 'audio']);
    both.addTrack(aac(Uint8Array.of(0x12, 0x10)));
    expect(both.build(sound(0))?.startsDecoding).toBe(false);
    expect(both.build(sound(11_000))?.startsDecoding).toBe(true);
    const alone = new FlvMessages(['audio']);
    alone.addTrack(aac(Uint8Array.of(0x12, 0x10)));
    const first = alone.build(sound(0));
    expect(first?.startsDecoding).toBe(true);
    alone.addTrack(aac(Uint8Array.of(0x12, 0x10)));
    expect(alone.build(sound(20))?.config).toBe(first?.config);
    alone.addTrack(aac(Uint8Array.of(0x11, 0x90)));
    expect(alone.build(sound(40))?.config).not.toBe(first?.config);
  });

  it('refuse codecs that streams do not carry', () => {
    const messages = new FlvMessages(['video', 'audio']);
    expect(() => messages.addTrack({ kind: 'video', codec: 'vp8', width: 1, height: 1 })).toThrow(
      'streams carry H.264 and AAC, not vp8',
    );
    expect(() =>
      messages.addTrack({ kind: 'audio', codec: 'opus', sampleRateHz: 48_000, channels: 2 }),
    ).toThrow(/not opus/);
  });
});
