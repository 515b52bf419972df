import { describe, expect, test } from 'vitest';
import { ServiceError } from '../../../services/base/errors.ts';
import {
  isKeyframe,
  joinAnnexB,
  joinLengthPrefixed,
  sliceType,
  splitAnnexB,
  splitLengthPrefixed,
  withoutDelimiters,
} from '../../../services/media/codecs/h264.ts';
import { buildAvcConfig, parseAvcConfig } from '../../../services/media/codecs/h264-avcc.ts';
import { avcCodecString, parseSps } from '../../../services/media/codecs/h264-sps.ts';
import { SPS } from '../../support/h264-samples.ts';
import { fuzz, SeededRandom } from '../../support/seeded-random.ts';

const nal = (...bytes: number[]): Uint8Array => Uint8Array.from(bytes);
const IDR = nal(0x65, 0x88, 0x84, 0x00, 0x10);
const P_SLICE = nal(0x41, 0x9a, 0x24);
const AUD = nal(0x09, 0xf0);
const FILLER = nal(0x0c, 0xff, 0xff, 0x80);

/** A baseline SPS of so many macroblocks, all else as small as it can be. */
function spsOf(widthMacroblocks: number, heightMacroblocks: number): Uint8Array {
  const golomb = (value: number): string => {
    const binary = (value + 1).toString(2);
    return '0'.repeat(binary.length - 1) + binary;
  };
  // id, frame numbers, picture order 2, one reference; size; progressive, no cropping, no VUI, stop bit
  const bits = [0, 0, 2, 1].map(golomb).join('') + '0' + golomb(widthMacroblocks - 1);
  const text = `${bits}${golomb(heightMacroblocks - 1)}10001`;
  const bytes = text.match(/.{1,8}/g)?.map((byte) => Number.parseInt(byte.padEnd(8, '0'), 2)) ?? [];
  return nal(0x67, 66, 0, 30, ...bytes);
}

test('pictures larger than any are refused before anything is made for them', () => {
  expect(parseSps(spsOf(40, 23))).toMatchObject({ width: 640, height: 368 });
  for (const [width, height] of [
    [100_000, 1],
    [1, 100_000],
    [2 ** 31, 2 ** 31],
  ] as const) {
    expect(() => parseSps(spsOf(width, height))).toThrow('is not possible');
  }
});

describe('NAL units', () => {
  test('both start code lengths, leading rubbish and trailing zeros', () => {
    const stream = [7, 7, 0, 0, 1, ...P_SLICE, 0, 0, 0, 0, 1, ...IDR, 0, 0, 0, 1, 0, 0, 1];
    expect(splitAnnexB(Uint8Array.from(stream)).map((n) => [...n])).toEqual([[...P_SLICE], [...IDR]]);
  });

  test('Annex B and length-prefixed forms hold the same units', () => {
    const units = [AUD, IDR, P_SLICE];
    const listed = (nals: readonly Uint8Array[]): number[][] => nals.map((n) => [...n]);
    expect(splitAnnexB(joinAnnexB(units))).toEqual(units);
    expect(listed(splitLengthPrefixed(joinLengthPrefixed(units), 4))).toEqual(listed(units));
    expect(splitLengthPrefixed(nal(2, ...AUD, 0, 3, ...P_SLICE), 1)).toEqual([AUD, P_SLICE]);
    expect(splitLengthPrefixed(nal(0, 2, ...AUD, 0, 3, ...P_SLICE), 2)).toEqual([AUD, P_SLICE]);
  });

  test.each([
    ['a length behind the end', nal(0, 0, 0, 9, 1, 2)],
    ['half a length', nal(0, 0)],
    ['a length of 4 GB', nal(0xff, 0xff, 0xff, 0xff, 1)],
  ])('%s is an error, not a read outside', (_case, data) => {
    expect(() => splitLengthPrefixed(data, 4)).toThrow(ServiceError);
  });

  test('delimiters and filler are left out, a key frame is one with an IDR slice', () => {
    expect(withoutDelimiters([AUD, IDR, FILLER])).toEqual([IDR]);
    expect(isKeyframe([AUD, IDR])).toBe(true);
    expect(isKeyframe([AUD, P_SLICE])).toBe(false);
  });

  test('slice types; anything else has none', () => {
    // first_mb_in_slice 0 = "1"; slice_type 5 (P), 6 (B), 7 (I) as Exp-Golomb.
    expect(sliceType(nal(0x41, 0b1001_1010, 0))).toBe('P');
    expect(sliceType(nal(0x01, 0b1001_1110, 0))).toBe('B');
    expect(sliceType(nal(0x65, 0b1000_1000, 0b0100_0000))).toBe('I');
    expect(sliceType(AUD)).toBeUndefined();
    expect(sliceType(nal(0x41))).toBeUndefined();
    expect(sliceType(nal(0x41, 0, 0, 0, 0, 0, 0))).toBeUndefined();
  });
});

describe('sequence parameter set', () => {
  test.each([
    ['baseline', { profileIdc: 66, chromaFormat: '4:2:0', progressive: true, pictureOrderCountType: 2 }],
    ['mainWithBFrames', { profileIdc: 77, maxReorderFrames: 2, pictureOrderCountType: 0 }],
    ['high422', { profileIdc: 122, chromaFormat: '4:2:2', bitDepthLuma: 8 }],
    ['high10', { profileIdc: 110, chromaFormat: '4:2:0', bitDepthLuma: 10, bitDepthChroma: 10 }],
  ] as const)('%s, as x264 writes it', (name, expected) => {
    expect(parseSps(SPS[name])).toMatchObject({ width: 642, height: 362, framerate: 30, ...expected });
  });

  test('interlaced: height counts both fields', () => {
    expect(parseSps(SPS.interlaced)).toMatchObject({
      width: 720,
      height: 576,
      progressive: false,
      framerate: 25,
    });
  });

  test('the codec string of RFC 6381', () => {
    expect(avcCodecString(parseSps(SPS.baseline))).toBe('avc1.42C01E');
  });

  test('cut off anywhere it is malformed, or lacks only its VUI', () => {
    for (let length = 0; length < SPS.mainWithBFrames.length; length++) {
      const cut = SPS.mainWithBFrames.subarray(0, length);
      try {
        expect(parseSps(cut)).toMatchObject({ width: 642, height: 362 });
      } catch (error) {
        expect(error).toBeInstanceOf(ServiceError);
      }
    }
  });

  test('20 000 damaged ones never throw anything but a ServiceError and never give impossible sizes', () => {
    const random = new SeededRandom(7);
    const samples = Object.values(SPS);
    const wrong = fuzz(20_000, () => {
      const sps = parseSps(random.damage(random.pick(samples)));
      return sps.width > 0 && sps.height > 0 && Math.max(sps.width, sps.height) <= 16_384;
    });
    expect(wrong).toEqual([]);
  });
});

describe('decoder configuration', () => {
  const pps = nal(0x68, 0xce, 0x3c, 0x80);

  test('what is built is read back', () => {
    const config = parseAvcConfig(buildAvcConfig([SPS.baseline], [pps]));
    expect(config.lengthSize).toBe(4);
    expect(config.sps.map((n) => [...n])).toEqual([[...SPS.baseline]]);
    expect(config.pps.map((n) => [...n])).toEqual([[...pps]]);
  });

  const good = [...buildAvcConfig([SPS.baseline], [pps])];
  const change = (offset: number, ...bytes: number[]): Uint8Array =>
    Uint8Array.from([...good.slice(0, offset), ...bytes, ...good.slice(offset + bytes.length)]);
  test.each([
    ['empty', nal(), '0 bytes are too few'],
    ['version 2', change(0, 2), 'version 2'],
    ['3-byte lengths', change(4, 0xfe), '3 bytes do not exist'],
    ['no SPS', change(5, 0xe0), 'no sequence parameter set'],
    ['31 SPS', change(5, 0xff), 'sequence parameter set'],
    ['an SPS longer than everything', change(6, 0xff, 0xff), 'sequence parameter set 1 of 1 is cut off'],
    ['an SPS that is a slice', change(8, 0x65), 'NAL unit type 5'],
    ['no PPS', Uint8Array.from(good.slice(0, 8 + SPS.baseline.length)), 'cut off before the picture'],
  ])('%s is refused by name', (_case, data, message) => {
    expect(() => parseAvcConfig(data)).toThrow(message);
  });

  test('20 000 damaged ones are read or refused', () => {
    const random = new SeededRandom(11);
    const wrong = fuzz(20_000, () => parseAvcConfig(random.damage(Uint8Array.from(good))).sps.length > 0);
    expect(wrong).toEqual([]);
  });
});
