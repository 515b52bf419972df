import { describe, expect, it } from 'vitest';
import { FrameAssembler, type ReceivedFrame } from '../../../services/media/packetize/frame-assembler.ts';
import { ReorderBuffer, type ReorderedPacket } from '../../../services/media/packetize/reorder-buffer.ts';
import { Vp8Depacketizer } from '../../../services/media/packetize/vp8-depacketizer.ts';
import { Vp8Packetizer } from '../../../services/media/packetize/vp8-packetizer.ts';
import { seededRandom, wire } from './payloads.ts';

type Packet = Omit<ReorderedPacket, 'sequence'> & { sequenceNumber: number };

function bufferOf(options: { maxWaitUs?: number; maxPackets?: number } = {}) {
  const out: (number | string)[] = [];
  const buffer = new ReorderBuffer({
    maxWaitUs: options.maxWaitUs ?? 1000,
    maxPackets: options.maxPackets ?? 100,
    isStreamStart: ([first]) => first === 1,
    onPacket: (packet) => out.push(packet.sequence & 0xffff),
    onLost: (count) => out.push(`lost ${count}`),
  });
  const push = (sequenceNumber: number, arrivalUs = 0, isStart = true) =>
    buffer.push(sequenceNumber, {
      timestamp: 0,
      marker: false,
      payload: Uint8Array.of(isStart ? 1 : 0),
      arrivalUs,
    });
  return { buffer, out, push };
}

describe('ReorderBuffer', () => {
  it('lets packets in order through at once', () => {
    const { out, push, buffer } = bufferOf();
    [65534, 65535, 0, 1].forEach((sequence) => push(sequence));
    expect(out).toEqual([65534, 65535, 0, 1]);
    expect(buffer.missingCount).toBe(0);
  });

  it('holds packets behind a gap, across the wrap, and drops repeats', () => {
    const { out, push, buffer } = bufferOf();
    push(65534);
    push(1);
    push(0);
    expect(push(1)).toBe('duplicate');
    expect(out).toEqual([65534]);
    expect(buffer.takeRequests(10, 40)).toEqual([65535]);
    expect(push(65535)).toBe('new');
    expect(out).toEqual([65534, 65535, 0, 1]);
    expect(push(65535)).toBe('late');
    expect(buffer.missingCount).toBe(0);
  });

  it('asks again at the interval, and for no more than is missing', () => {
    const { push, buffer } = bufferOf();
    push(10);
    push(14);
    expect(buffer.takeRequests(0, 40)).toEqual([11, 12, 13]);
    push(12);
    expect(buffer.takeRequests(39, 40)).toEqual([]);
    expect(buffer.takeRequests(40, 40)).toEqual([11, 13]);
    for (let time = 80; time < 4000; time += 40) {
      buffer.takeRequests(time, 40);
    }
    // Nobody is asked for ever.
    expect(buffer.takeRequests(5000, 40)).toEqual([]);
  });

  it('gives up on a packet after the waiting time, saying how many are gone', () => {
    const { out, push, buffer } = bufferOf({ maxWaitUs: 1000 });
    push(1, 0);
    push(4, 500);
    push(6, 900);
    buffer.expire(1499);
    expect(out).toEqual([1]);
    buffer.expire(1500);
    expect(out).toEqual([1, 'lost 2', 4]);
    buffer.expire(1900);
    expect(out).toEqual([1, 'lost 2', 4, 'lost 1', 6]);
  });

  it('holds no more than its bound', () => {
    const { out, push } = bufferOf({ maxPackets: 3 });
    push(1);
    [3, 4, 5, 6].forEach((sequence) => push(sequence));
    expect(out).toEqual([1, 'lost 1', 3, 4, 5, 6]);
  });

  it('finds the beginning when the very first packets come in the wrong order', () => {
    const { out, push, buffer } = bufferOf();
    push(1, 0, false);
    push(3, 0, false);
    push(65_534, 0, false);
    expect(out).toEqual([]);
    push(0);
    expect(out).toEqual([0, 1]);
    expect(buffer.takeRequests(0, 40)).toEqual([2]);
    push(2, 0, false);
    expect(out).toEqual([0, 1, 2, 3]);
  });

  it('starts over when the sender does', () => {
    const { out, push } = bufferOf();
    push(100);
    push(40_000);
    push(40_001);
    expect(out).toEqual([100, 'lost 1', 40_000, 40_001]);
  });

  it('gives every packet once and in order, whatever the network does', () => {
    const random = seededRandom(7);
    for (let round = 0; round < 50; round += 1) {
      const { out, push } = bufferOf({ maxPackets: 1000 });
      const first = Math.floor(random() * 65_536);
      const sent = Array.from({ length: 200 }, (_, index) => (first + index) & 0xffff);
      const shuffled = sent
        .slice(1)
        .map((sequence, index) => ({ sequence, at: index + random() * 20 }))
        .flatMap((entry) => (random() < 0.1 ? [entry, { ...entry, at: entry.at + 30 }] : [entry]))
        .sort((a, b) => a.at - b.at);
      push(first);
      shuffled.forEach(({ sequence }) => push(sequence));
      expect(out).toEqual(sent);
    }
  });
});

/** VP8 frames as packets; frame n carries n in its second byte. */
function packetsOf(frames: { key: boolean; length: number }[]): Packet[] {
  const packetizer = new Vp8Packetizer();
  let sequenceNumber = 65_500;
  return frames.flatMap(({ key, length }, index) => {
    const data = new Uint8Array(length).fill(index & 0xff);
    data[0] = key ? 0x10 : 0x11;
    const payloads = wire(packetizer.packetize(data, { maxPayloadLength: 100 }));
    return payloads.map((payload, position) => {
      const packet = {
        sequenceNumber,
        timestamp: index * 3000,
        marker: position === payloads.length - 1,
        payload,
        arrivalUs: index * 33_000 + position,
      };
      sequenceNumber = (sequenceNumber + 1) & 0xffff;
      return packet;
    });
  });
}

function receiver() {
  const frames: ReceivedFrame[] = [];
  const state = { lost: 0, keyframeRequests: 0 };
  const depacketizer = new Vp8Depacketizer();
  const assembler = new FrameAssembler({
    depacketizer,
    onFrame: (frame) => frames.push(frame),
    onKeyframeNeeded: () => {
      state.keyframeRequests += 1;
    },
  });
  const buffer = new ReorderBuffer({
    maxWaitUs: 50_000,
    maxPackets: 4096,
    isStreamStart: (payload) => depacketizer.isFrameStart(payload),
    onPacket: (packet) => assembler.push(packet),
    onLost: (count) => {
      state.lost += count;
      assembler.lost();
    },
  });
  const push = (packet: Packet): void => {
    buffer.push(packet.sequenceNumber, packet);
    buffer.expire(packet.arrivalUs);
  };
  const indices = (): number[] => frames.map(({ data }) => data[1] ?? -1);
  return { frames, state, push, indices, assembler };
}

const GOP = Array.from({ length: 12 }, (_, index) => ({ key: index % 6 === 0, length: 50 + index * 60 }));

describe('FrameAssembler', () => {
  it('gives all frames with the time their first packet came', () => {
    const { push, indices, frames, state } = receiver();
    packetsOf(GOP).forEach(push);
    expect(indices()).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    expect(frames.map(({ arrivalUs }) => arrivalUs)).toEqual(GOP.map((_, index) => index * 33_000));
    expect(frames.map(({ data }) => data.length)).toEqual(GOP.map(({ length }) => length));
    expect(state).toEqual({ lost: 0, keyframeRequests: 0 });
  });

  it('begins with a key frame and asks for one until it comes', () => {
    const { push, indices, state } = receiver();
    packetsOf(GOP.slice(2)).forEach(push);
    expect(indices()).toEqual([4, 5, 6, 7, 8, 9]);
    expect(state.keyframeRequests).toBeGreaterThan(0);
  });

  it.each([
    [
      'the first packet of a frame',
      (packets: Packet[]) => packets.findIndex(({ timestamp }) => timestamp === 6000),
    ],
    [
      'one in its middle',
      (packets: Packet[]) => packets.findIndex(({ timestamp }) => timestamp === 9000) + 1,
    ],
    ['its last one', (packets: Packet[]) => packets.findLastIndex(({ timestamp }) => timestamp === 9000)],
  ])('never gives a frame that lacks %s, nor what depends on it', (_name, pick) => {
    const { push, indices, state } = receiver();
    const packets = packetsOf(GOP);
    packets.splice(pick(packets), 1);
    packets.forEach(push);
    const damaged = indices().findIndex((value, index) => value !== index);
    expect([2, 3]).toContain(damaged);
    expect(indices().slice(damaged)).toEqual([6, 7, 8, 9, 10, 11]);
    expect(state.lost).toBe(1);
    expect(state.keyframeRequests).toBeGreaterThan(0);
  });

  it('takes padding for what it is', () => {
    const { push, indices, state } = receiver();
    let shift = 0;
    for (const packet of packetsOf(GOP)) {
      push({ ...packet, sequenceNumber: (packet.sequenceNumber + shift) & 0xffff });
      if (packet.marker) {
        shift += 1;
        push({
          ...packet,
          sequenceNumber: (packet.sequenceNumber + shift) & 0xffff,
          payload: new Uint8Array(0),
          marker: false,
        });
      }
    }
    expect(indices()).toHaveLength(GOP.length);
    expect(state.lost).toBe(0);
  });

  it('ends a frame without marker at the next timestamp', () => {
    const { push, indices } = receiver();
    packetsOf(GOP).forEach((packet) => push({ ...packet, marker: false }));
    expect(indices()).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  });

  it('gives only whole frames under heavy loss, reordering and repeats', () => {
    const random = seededRandom(99);
    for (let round = 0; round < 40; round += 1) {
      const { push, frames } = receiver();
      const sizes = new Map(GOP.map(({ length }, index) => [index, length]));
      packetsOf(GOP)
        .filter(() => random() > 0.1)
        .flatMap((packet) => (random() < 0.1 ? [packet, packet] : [packet]))
        .map((packet) => ({ packet, at: packet.arrivalUs + random() * 40_000 }))
        .sort((a, b) => a.at - b.at)
        .forEach(({ packet, at }) => push({ ...packet, arrivalUs: at }));
      let decodable = false;
      let last = -1;
      for (const { data, key } of frames) {
        const index = data[1] ?? -1;
        expect(data).toHaveLength(sizes.get(index) ?? -1);
        decodable = key || (decodable && index === last + 1);
        expect(decodable).toBe(true);
        last = index;
      }
    }
  });
});
