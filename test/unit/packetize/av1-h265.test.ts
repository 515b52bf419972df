import { execFileSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { completeTemporalUnit, splitObus, TEMPORAL_DELIMITER } from '../../../services/media/codecs/av1.ts';
import { joinAnnexB, splitAnnexB } from '../../../services/media/codecs/h264.ts';
import { H265_NAL_TYPE, h265NalType } from '../../../services/media/codecs/h265.ts';
import { Av1Depacketizer } from '../../../services/media/packetize/av1-depacketizer.ts';
import { Av1Packetizer } from '../../../services/media/packetize/av1-packetizer.ts';
import { H265Depacketizer } from '../../../services/media/packetize/h265-depacketizer.ts';
import { H265Packetizer } from '../../../services/media/packetize/h265-packetizer.ts';
import { startsKeyframe } from '../../../services/media/rtp/keyframe.ts';
import { wire } from './payloads.ts';

const MAX = 1188;
const FFMPEG = process.env['FFMPEG_PATH'] ?? 'ffmpeg';

/** ffmpeg's output for half a second of noise, which needs many packets a picture. */
function encoded(...encoder: string[]): Buffer {
  const source = 'testsrc2=size=320x180:rate=10,noise=alls=60:allf=t';
  const args = [
    '-v',
    'error',
    '-f',
    'lavfi',
    '-i',
    source,
    '-frames:v',
    '5',
    '-pix_fmt',
    'yuv420p',
    ...encoder,
  ];
  return execFileSync(FFMPEG, [...args, 'pipe:1'], { stdio: ['ignore', 'pipe', 'ignore'] });
}

/** Frames of an IVF file. */
function ivfFrames(file: Buffer): Buffer[] {
  const frames: Buffer[] = [];
  for (let offset = 32; offset < file.length;) {
    const length = file.readUInt32LE(offset);
    frames.push(file.subarray(offset + 12, offset + 12 + length));
    offset += 12 + length;
  }
  return frames;
}

/** An OBU with a size field. */
function obu(type: number, payload: Uint8Array, extension?: number): Uint8Array {
  const header = extension === undefined ? [(type << 3) | 2] : [(type << 3) | 6, extension];
  const { length } = payload;
  return Uint8Array.of(
    ...header,
    ...(length < 128 ? [length] : [(length & 127) | 128, length >> 7]),
    ...payload,
  );
}

describe('AV1 (AV1 RTP specification 1.0)', () => {
  it("gives back an encoder's temporal units, and says which are key frames", () => {
    const units = ivfFrames(
      encoded('-c:v', 'libaom-av1', '-usage', 'realtime', '-cpu-used', '8', '-g', '3', '-f', 'ivf'),
    );
    expect(units).toHaveLength(5);
    const [packetizer, depacketizer] = [new Av1Packetizer(), new Av1Depacketizer()];
    for (const [index, unit] of units.entries()) {
      const key = index % 3 === 0;
      const payloads = wire(packetizer.packetize(unit, { key, maxPayloadLength: MAX }));
      expect(payloads.length).toBeGreaterThan(1);
      expect(Math.max(...payloads.map(({ length }) => length))).toBeLessThanOrEqual(MAX);
      expect(payloads.map((payload) => startsKeyframe('av1', payload))).toEqual(
        payloads.map((_, at) => key && at === 0),
      );
      expect(payloads.map((payload) => depacketizer.isFrameStart(payload))).toEqual(
        payloads.map((_, at) => at === 0),
      );
      const frame = depacketizer.assemble(payloads);
      expect(frame).toMatchObject({ key });
      expect(
        typeof frame === 'object' &&
          Buffer.from(frame.data).equals(completeTemporalUnit(unit, false, Buffer.alloc(0))),
      ).toBe(true);
    }
  });

  it.each([1, 2, 3, 7])('carries %i small OBUs in one packet, extension headers too', (count) => {
    const obus = Array.from({ length: count }, (_, index) =>
      obu(index === count - 1 ? 6 : 5, Uint8Array.of(0x30, index), index === 1 ? 0x28 : undefined),
    );
    const unit = new Uint8Array(Buffer.concat([TEMPORAL_DELIMITER, ...obus]));
    const payloads = wire(new Av1Packetizer().packetize(unit, { key: false, maxPayloadLength: MAX }));
    expect(payloads).toHaveLength(1);
    // W counts up to three elements; above, every one has a length.
    expect(((payloads[0]?.[0] ?? 0) >> 4) & 3).toBe(count <= 3 ? count : 0);
    expect(new Av1Depacketizer().assemble(payloads)).toEqual({ data: unit, key: false });
  });

  it('splits OBUs of every length around the packet border', () => {
    for (let length = MAX - 8; length < MAX + 8; length += 1) {
      const unit = Buffer.concat([
        TEMPORAL_DELIMITER,
        obu(5, new Uint8Array(9)),
        obu(6, new Uint8Array(length).fill(0x30)),
      ]);
      const payloads = wire(new Av1Packetizer().packetize(unit, { key: false, maxPayloadLength: MAX }));
      expect(Math.max(...payloads.map((payload) => payload.length))).toBeLessThanOrEqual(MAX);
      const frame = new Av1Depacketizer().assemble(payloads);
      expect(typeof frame === 'object' && unit.equals(Buffer.from(frame.data))).toBe(true);
    }
  });

  it('leaves delimiters, tile lists and padding out, and puts sizes where a file left them out', () => {
    const open = Uint8Array.of(6 << 3, 0x30, 1, 2);
    const unit = Buffer.concat([
      TEMPORAL_DELIMITER,
      obu(15, new Uint8Array(4)),
      obu(8, new Uint8Array(4)),
      open,
    ]);
    const frame = new Av1Depacketizer().assemble(
      wire(new Av1Packetizer().packetize(unit, { key: false, maxPayloadLength: MAX })),
    );
    expect(frame).toEqual({
      data: new Uint8Array(Buffer.concat([TEMPORAL_DELIMITER, obu(6, Uint8Array.of(0x30, 1, 2))])),
      key: false,
    });
    expect(splitObus(completeTemporalUnit(unit, false, Buffer.alloc(0))).at(-1)?.bytes).toEqual(
      Buffer.from(obu(6, Uint8Array.of(0x30, 1, 2))),
    );
  });

  it.each([
    ['a fragment without its start', [Uint8Array.of(0x90, 1, 2)]],
    ['a start without its end', [Uint8Array.of(0x50, 0x30, 2)]],
    ['a start behind a start', [Uint8Array.of(0x50, 0x30, 2), Uint8Array.of(0x10, 0x30, 2)]],
    ['a length behind the end', [Uint8Array.of(0x00, 9, 0x30)]],
    ['a length of 0', [Uint8Array.of(0x00, 0, 0x30)]],
    ['fewer elements than counted', [Uint8Array.of(0x20, 1, 0x30)]],
    ['a size field that lies', [Uint8Array.of(0x10, 0x32, 9, 0)]],
    ['nothing', [Uint8Array.of(0x10)]],
  ])('%s is malformed', (_, payloads) => {
    expect(new Av1Depacketizer().assemble(payloads)).toBeUndefined();
  });

  it('a sequence header alone is nothing to decode', () => {
    expect(new Av1Depacketizer().assemble([Uint8Array.of(0x18, 0x08, 1)])).toBe('empty');
  });
});

describe('H.265 (RFC 7798)', () => {
  const stream = splitAnnexB(
    encoded(
      '-c:v',
      'libx265',
      '-x265-params',
      'log-level=error:keyint=3:bframes=0:repeat-headers=1:aud=1',
      '-f',
      'hevc',
    ),
  );
  const isPicture = (nal: Uint8Array): boolean => h265NalType(nal) < 32;

  /** Access units: everything up to and with a picture, as x265 writes one slice each. */
  function accessUnits(): Uint8Array[][] {
    const units: Uint8Array[][] = [];
    let unit: Uint8Array[] = [];
    for (const nal of stream) {
      unit.push(nal);
      if (isPicture(nal)) {
        units.push(unit);
        unit = [];
      }
    }
    return units;
  }

  it("gives back an encoder's access units without delimiters, parameter sets in one packet", () => {
    const [packetizer, depacketizer] = [new H265Packetizer(), new H265Depacketizer()];
    const units = accessUnits();
    expect(units).toHaveLength(5);
    for (const [index, nals] of units.entries()) {
      const key = index % 3 === 0;
      const payloads = wire(packetizer.packetize(joinAnnexB(nals), { maxPayloadLength: MAX }));
      expect(payloads.length).toBeGreaterThan(1);
      expect(Math.max(...payloads.map(({ length }) => length))).toBeLessThanOrEqual(MAX);
      expect(startsKeyframe('h265', payloads[0] ?? Buffer.alloc(0))).toBe(key);
      expect(depacketizer.isFrameStart(payloads[0] ?? Buffer.alloc(0))).toBe(true);
      expect(key || !payloads.slice(1).some((payload) => depacketizer.isFrameStart(payload))).toBe(true);
      const sent = nals.filter((nal) => h265NalType(nal) !== H265_NAL_TYPE.accessUnitDelimiter);
      expect(depacketizer.assemble(payloads)).toEqual({ data: joinAnnexB(sent), key });
    }
  });

  it('puts parameter sets that came before in front of a key frame', () => {
    const [sets, picture] = [
      stream.filter((nal) => [32, 33, 34].includes(h265NalType(nal))).slice(0, 3),
      stream.find(isPicture),
    ];
    const depacketizer = new H265Depacketizer();
    const payloads = (nals: readonly Uint8Array[]): Uint8Array[] =>
      wire(new H265Packetizer().packetize(joinAnnexB(nals), { maxPayloadLength: MAX }));
    expect(depacketizer.assemble(payloads([picture ?? Buffer.alloc(0)]))).toBeUndefined();
    expect(depacketizer.assemble(payloads(sets))).toBe('empty');
    expect(depacketizer.assemble(payloads([picture ?? Buffer.alloc(0)]))).toEqual({
      data: joinAnnexB([...sets, picture ?? Buffer.alloc(0)]),
      key: true,
    });
  });

  it.each([
    ['a fragment without its start', [Uint8Array.of(49 << 1, 1, 1, 2)]],
    ['a start without its end', [Uint8Array.of(49 << 1, 1, 0x81, 2)]],
    ['a unit between fragments', [Uint8Array.of(49 << 1, 1, 0x81, 2), Uint8Array.of(2, 1, 9)]],
    ['an aggregate cut off', [Uint8Array.of(48 << 1, 1, 0, 9, 1)]],
    ['PACI, which nobody sends', [Uint8Array.of(50 << 1, 1, 0, 9, 1)]],
  ])('%s is malformed', (_, payloads) => {
    expect(new H265Depacketizer().assemble(payloads)).toBeUndefined();
  });
});
