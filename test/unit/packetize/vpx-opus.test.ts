import { describe, expect, it } from 'vitest';
import { createDepacketizer } from '../../../services/media/packetize/depacketizer.ts';
import { createPacketizer } from '../../../services/media/packetize/packetizer.ts';
import { Vp8Depacketizer, vp8DescriptorLength } from '../../../services/media/packetize/vp8-depacketizer.ts';
import { Vp8Packetizer } from '../../../services/media/packetize/vp8-packetizer.ts';
import { Vp9Depacketizer, vp9DescriptorLength } from '../../../services/media/packetize/vp9-depacketizer.ts';
import { Vp9Packetizer } from '../../../services/media/packetize/vp9-packetizer.ts';
import { randomBytesOf, seededRandom, wire } from './payloads.ts';

const MAX = 1188;

function frame(length: number, firstByte: number): Uint8Array {
  const bytes = new Uint8Array(length).map((_, index) => (index * 7) & 0xff);
  bytes[0] = firstByte;
  return bytes;
}

describe('VP8 (RFC 7741)', () => {
  it('gives back frames of every size; only the lowest bit of the frame tag makes a key frame', () => {
    const packetizer = new Vp8Packetizer();
    const depacketizer = new Vp8Depacketizer();
    for (const [length, first] of [
      [10, 0x10],
      [MAX - 4, 0x11],
      [MAX - 3, 0x30],
      [50_000, 0x31],
    ] as const) {
      const data = frame(length, first);
      const payloads = wire(packetizer.packetize(data, { maxPayloadLength: MAX }));
      expect(Math.max(...payloads.map((payload) => payload.length))).toBeLessThanOrEqual(MAX);
      const assembled = depacketizer.assemble(payloads);
      expect(assembled).toMatchObject({ key: (first & 1) === 0 });
      expect(typeof assembled === 'object' && Buffer.from(assembled.data).equals(data)).toBe(true);
    }
  });

  it('marks the first packet and counts pictures in 15 bits, across the wrap', () => {
    const packetizer = new Vp8Packetizer();
    const data = frame(MAX, 0x11);
    const heads = Array.from({ length: 0x8000 + 5 }, () =>
      packetizer.packetize(data, { maxPayloadLength: MAX }).map(({ head }) => [...head]),
    );
    const pictureIds = heads.map(([first = []]) => (((first[2] ?? 0) & 0x7f) << 8) | (first[3] ?? 0));
    expect(
      pictureIds.every((id, index) => index === 0 || id === (((pictureIds[index - 1] ?? 0) + 1) & 0x7fff)),
    ).toBe(true);
    expect(pictureIds).toContain(0);
    for (const [first, second] of heads.slice(0, 300)) {
      expect(first?.slice(0, 2)).toEqual([0x90, 0x80]);
      expect(second?.slice(0, 2)).toEqual([0x80, 0x80]);
      // 15-bit form, the same picture in both packets.
      expect(first?.[2] ?? 0).toBeGreaterThanOrEqual(0x80);
      expect(second?.slice(2)).toEqual(first?.slice(2));
    }
  });

  it('reads every form of the payload descriptor', () => {
    expect(vp8DescriptorLength(Uint8Array.of(0x10, 1))).toBe(1);
    expect(vp8DescriptorLength(Uint8Array.of(0x90, 0x80, 0x12, 1))).toBe(3);
    expect(vp8DescriptorLength(Uint8Array.of(0x90, 0x80, 0x92, 0x34, 1))).toBe(4);
    expect(vp8DescriptorLength(Uint8Array.of(0x90, 0xe0, 0x92, 0x34, 5, 0x60, 1))).toBe(6);
    expect(vp8DescriptorLength(Uint8Array.of(0x90, 0xf0, 0x92, 0x34, 5, 0x60))).toBe(-1);
    expect(vp8DescriptorLength(new Uint8Array(0))).toBe(-1);
  });

  it('does not take a later partition for the start of a frame', () => {
    const depacketizer = new Vp8Depacketizer();
    expect(depacketizer.isFrameStart(Uint8Array.of(0x11, 1))).toBe(false);
    expect(depacketizer.isFrameStart(Uint8Array.of(0x00, 1))).toBe(false);
    expect(depacketizer.assemble([Uint8Array.of(0x00, 1, 2)])).toBeUndefined();
  });
});

describe('VP9 (RFC 9628)', () => {
  it('gives back frames and says which are key frames', () => {
    const packetizer = new Vp9Packetizer();
    for (const [length, key] of [
      [20, true],
      [5000, false],
    ] as const) {
      const data = frame(length, 0x82);
      const payloads = wire(packetizer.packetize(data, { key, maxPayloadLength: MAX }));
      expect(new Vp9Depacketizer().assemble(payloads)).toEqual({ data, key });
    }
  });

  it('reads flexible mode and scalability structures', () => {
    expect(vp9DescriptorLength(Uint8Array.of(0x8c, 0x81, 0x01, 9))).toBe(3);
    // Layer indices: one byte in flexible mode, two with TL0PICIDX otherwise.
    expect(vp9DescriptorLength(Uint8Array.of(0xac, 0x01, 0x00, 0x07, 9))).toBe(4);
    expect(vp9DescriptorLength(Uint8Array.of(0xfc, 0x01, 0x00, 0x03, 0x02, 9))).toBe(5);
    expect(vp9DescriptorLength(Uint8Array.of(0xfc, 0x01, 0x00, 0x03, 0x03, 0x03, 0x03, 9))).toBe(-1);
    // One layer with a size and two pictures, the second with one reference.
    const structure = [0x18, 0x05, 0x00, 0x02, 0xd0, 2, 0x00, 0x04, 0x01];
    expect(vp9DescriptorLength(Uint8Array.of(0x8e, 0x01, ...structure, 9))).toBe(2 + structure.length);
  });
});

describe('Opus (RFC 7587)', () => {
  it('is one packet per frame, whatever its length', () => {
    const packetizer = createPacketizer('opus');
    const depacketizer = createDepacketizer('opus');
    const data = frame(1275, 0xfc);
    expect(
      depacketizer.assemble(wire(packetizer.packetize(data, { key: true, maxPayloadLength: MAX }))),
    ).toEqual({
      data,
      key: true,
    });
    expect(packetizer.packetize(new Uint8Array(0), { key: true, maxPayloadLength: MAX })).toEqual([]);
  });
});

describe('any depacketizer', () => {
  it.each(['vp8', 'vp9', 'av1', 'h265', 'opus'] as const)('%s survives garbage', (codec) => {
    const random = seededRandom(codec.length);
    const depacketizer = createDepacketizer(codec);
    expect(() => {
      for (let round = 0; round < 3000; round += 1) {
        const payloads = Array.from({ length: 1 + Math.floor(random() * 3) }, () =>
          randomBytesOf(random, 10),
        );
        payloads.forEach((payload) => depacketizer.isFrameStart(payload));
        depacketizer.assemble(payloads);
      }
    }).not.toThrow();
  });

  it('is refused for codecs without a payload format here', () => {
    expect(() => createDepacketizer('pcmu')).toThrow(expect.objectContaining({ code: 'unimplemented' }));
    expect(() => createPacketizer('aac')).toThrow(expect.objectContaining({ code: 'unimplemented' }));
  });
});
