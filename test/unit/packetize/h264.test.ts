import { describe, expect, it } from 'vitest';
import { joinAnnexB } from '../../../services/media/codecs/h264.ts';
import { H264Depacketizer } from '../../../services/media/packetize/h264-depacketizer.ts';
import { H264Packetizer } from '../../../services/media/packetize/h264-packetizer.ts';
import { randomBytesOf, seededRandom, wire } from './payloads.ts';

const MAX = 1188;
const SPS = Uint8Array.of(0x67, 0x42, 0xe0, 0x1f, 0xda, 0x01, 0x40, 0x16);
const PPS = Uint8Array.of(0x68, 0xce, 0x3c, 0x80);
const SEI = Uint8Array.of(0x06, 0x05, 0x02, 0xaa, 0xbb, 0x80);
const AUD = Uint8Array.of(0x09, 0xf0);

/** A slice that begins its picture (first_mb_in_slice 0) and contains no start code. */
function slice(header: number, length: number, first = true): Uint8Array {
  const bytes = new Uint8Array(length).fill(0x77);
  bytes[0] = header;
  bytes[1] = first ? 0x88 : 0x21;
  bytes[length - 1] = 0x80;
  return bytes;
}
const idr = (length: number): Uint8Array => slice(0x65, length);
const delta = (length: number): Uint8Array => slice(0x41, length);

function packetize(...units: Uint8Array[]): Uint8Array[] {
  return wire(new H264Packetizer().packetize(joinAnnexB(units), { maxPayloadLength: MAX }));
}

describe('H.264 packetizer (RFC 6184)', () => {
  it('puts parameter sets into one STAP-A and the small slice behind it alone', () => {
    const [stap, single, ...rest] = packetize(SPS, PPS, idr(100));
    expect(rest).toEqual([]);
    expect(stap?.[0]).toBe(0x60 | 24);
    expect([...(stap ?? [])].slice(1, 3)).toEqual([0, SPS.length]);
    expect(stap).toHaveLength(1 + 2 + SPS.length + 2 + PPS.length);
    expect(single).toEqual(idr(100));
  });

  it('sends a lone parameter set as it is', () => {
    expect(packetize(SPS)).toEqual([SPS]);
  });

  it('fragments a slice evenly: start and end bits, NRI and type kept, nothing above the limit', () => {
    const unit = idr(3 * MAX);
    const fragments = packetize(unit);
    expect(fragments).toHaveLength(4);
    for (const [index, fragment] of fragments.entries()) {
      expect(fragment.length).toBeLessThanOrEqual(MAX);
      expect(fragment.length).toBeGreaterThan(MAX / 2);
      expect(fragment[0]).toBe(0x60 | 28);
      expect(fragment[1]).toBe((index === 0 ? 0x80 : 0) | (index === 3 ? 0x40 : 0) | 5);
    }
  });

  it.each([MAX - 1, MAX, MAX + 1])('handles a unit of %i bytes at the packet limit', (length) => {
    const payloads = packetize(delta(length));
    expect(payloads).toHaveLength(length <= MAX ? 1 : 2);
    expect(Math.max(...payloads.map((payload) => payload.length))).toBeLessThanOrEqual(MAX);
  });

  it('leaves out delimiters and filler, which RTP makes needless', () => {
    const filler = Uint8Array.of(0x0c, 0xff, 0xff, 0x80);
    expect(packetize(AUD, delta(50), filler)).toEqual([delta(50)]);
  });

  it('gives nothing for an empty frame', () => {
    expect(packetize()).toEqual([]);
    expect(new H264Packetizer().packetize(Uint8Array.of(1, 2, 3), { maxPayloadLength: MAX })).toEqual([]);
  });
});

describe('H.264 depacketizer', () => {
  it('gives back what was packetized, for all sizes and mixes of units', () => {
    const random = seededRandom(6184);
    for (let round = 0; round < 60; round += 1) {
      const key = random() < 0.3;
      const units = [
        ...(key ? [SPS, PPS] : []),
        ...(random() < 0.3 ? [SEI] : []),
        ...Array.from({ length: 1 + Math.floor(random() * 3) }, (_, index) =>
          slice(key ? 0x65 : 0x41, 3 + Math.floor(random() * 5000), index === 0),
        ),
      ];
      const frame = new H264Depacketizer().assemble(packetize(...units));
      expect(frame).toMatchObject({ key });
      expect(typeof frame === 'object' && Buffer.from(frame.data).equals(joinAnnexB(units))).toBe(true);
    }
  });

  it('puts earlier parameter sets in front of a key frame that lacks them', () => {
    const depacketizer = new H264Depacketizer();
    expect(depacketizer.assemble(packetize(SPS, PPS))).toBe('empty');
    expect(depacketizer.assemble(packetize(idr(40)))).toEqual({
      data: joinAnnexB([SPS, PPS, idr(40)]),
      key: true,
    });
    const changed = Uint8Array.of(...SPS.subarray(0, 4), 0xda, 0x02, 0x80, 0x2d);
    expect(depacketizer.assemble(packetize(changed, idr(40)))).toEqual({
      data: joinAnnexB([changed, PPS, idr(40)]),
      key: true,
    });
    expect(depacketizer.assemble(packetize(idr(40)))).toMatchObject({
      data: joinAnnexB([changed, PPS, idr(40)]),
    });
  });

  it('refuses a key frame that nothing can decode', () => {
    expect(new H264Depacketizer().assemble([idr(40)])).toBeUndefined();
  });

  it('knows where frames begin', () => {
    const depacketizer = new H264Depacketizer();
    const [stap = SPS] = packetize(SPS, PPS);
    const [first = SPS, second = SPS] = packetize(delta(5000));
    expect(depacketizer.isFrameStart(stap)).toBe(true);
    expect(depacketizer.isFrameStart(first)).toBe(true);
    expect(depacketizer.isFrameStart(second)).toBe(false);
    expect(depacketizer.isFrameStart(delta(20))).toBe(true);
    expect(depacketizer.isFrameStart(slice(0x41, 20, false))).toBe(false);
  });

  it('refuses what is missing its middle, its end, or was put together wrongly', () => {
    const fragments = packetize(delta(6 * MAX));
    const depacketizer = new H264Depacketizer();
    expect(depacketizer.assemble(fragments.slice(1))).toBeUndefined();
    expect(depacketizer.assemble(fragments.slice(0, -1))).toBeUndefined();
    expect(depacketizer.assemble([...fragments.slice(0, 2), delta(30)])).toBeUndefined();
    expect(depacketizer.assemble([fragments[0] ?? SPS, fragments[0] ?? SPS])).toBeUndefined();
    // STAP-A whose unit is longer than the packet, and one with bytes left over.
    expect(depacketizer.assemble([Uint8Array.of(24, 0, 9, 0x67)])).toBeUndefined();
    expect(depacketizer.assemble([Uint8Array.of(24, 0, 1, 0x67, 0)])).toBeUndefined();
    expect(depacketizer.assemble([Uint8Array.of(24)])).toBeUndefined();
    // FU-B and MTAP are not part of packetization mode 1.
    expect(depacketizer.assemble([Uint8Array.of(29, 0x85, 0, 0)])).toBeUndefined();
    expect(depacketizer.assemble([Uint8Array.of(26, 0, 0)])).toBeUndefined();
    expect(depacketizer.assemble([new Uint8Array(0)])).toBeUndefined();
  });

  it('survives garbage', () => {
    const random = seededRandom(1);
    const depacketizer = new H264Depacketizer();
    expect(() => {
      for (let round = 0; round < 3000; round += 1) {
        const payloads = Array.from({ length: Math.floor(random() * 4) }, () => randomBytesOf(random, 12));
        payloads.forEach((payload) => depacketizer.isFrameStart(payload));
        depacketizer.assemble(payloads);
      }
    }).not.toThrow();
  });
});
