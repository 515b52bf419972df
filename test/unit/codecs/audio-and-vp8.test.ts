import { describe, expect, test } from 'vitest';
import { ServiceError } from '../../../services/base/errors.ts';
import {
  buildAacConfig,
  buildAdtsHeader,
  parseAacConfig,
  parseAdtsHeader,
} from '../../../services/media/codecs/aac.ts';
import { parseOpusPacket } from '../../../services/media/codecs/opus.ts';
import { parseVp8Header } from '../../../services/media/codecs/vp8.ts';
import { fuzz, SeededRandom } from '../../support/seeded-random.ts';

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);

describe('AAC', () => {
  test.each([
    [
      'LC 44.1 kHz stereo',
      bytes(0x12, 0x10),
      { objectType: 2, sampleRateHz: 44_100, channels: 2, sbr: false },
    ],
    ['LC 48 kHz 5.1', bytes(0x11, 0xb0), { objectType: 2, sampleRateHz: 48_000, channels: 6 }],
    ['HE-AAC, explicit', bytes(0x2b, 0x11, 0x88, 0x00), { objectType: 2, sampleRateHz: 24_000, sbr: true }],
    [
      'HE-AAC, backward compatible',
      bytes(0x13, 0x10, 0x56, 0xe5, 0x98),
      { objectType: 2, sampleRateHz: 24_000, outputSampleRateHz: 48_000, sbr: true },
    ],
    [
      'HE-AAC version 2, explicit',
      bytes(0xeb, 0x09, 0x88, 0x00),
      { channels: 1, outputChannels: 2, outputSampleRateHz: 48_000, parametricStereo: true },
    ],
    [
      'HE-AAC version 2, backward compatible',
      bytes(0x13, 0x08, 0x56, 0xe5, 0x9d, 0x48, 0x80),
      { channels: 1, outputChannels: 2, outputSampleRateHz: 48_000, parametricStereo: true },
    ],
    ['layout inside the stream', bytes(0x12, 0x00), { channels: 0 }],
  ])('configuration: %s', (_case, data, expected) => {
    expect(parseAacConfig(data)).toMatchObject(expected);
  });

  test('a configuration that is built is read back, for every rate and layout', () => {
    for (const sampleRateHz of [96_000, 48_000, 44_100, 32_000, 22_050, 8_000, 7_350]) {
      for (const channels of [1, 2, 6, 8]) {
        const config = parseAacConfig(buildAacConfig(2, sampleRateHz, channels));
        expect(config).toMatchObject({ objectType: 2, sampleRateHz, channels, frameSamples: 1024 });
        const header = parseAdtsHeader(buildAdtsHeader(config, 321));
        expect(header).toEqual({ objectType: 2, sampleRateHz, channels, headerBytes: 7, frameBytes: 328 });
      }
    }
  });

  test('garbage is refused, an incomplete ADTS header waits', () => {
    expect(() => parseAacConfig(bytes())).toThrow(ServiceError);
    expect(() => parseAacConfig(bytes(0x00, 0x00))).toThrow('object type 0');
    expect(() => parseAacConfig(bytes(0x16, 0x90))).toThrow('sample rate index 13');
    expect(parseAdtsHeader(bytes(0xff, 0xf1, 0x50))).toBeUndefined();
    expect(() => parseAdtsHeader(bytes(0xff, 0xf1, 0x50, 0x80, 0, 0, 0))).toThrow('no ADTS header');
    expect(() => buildAdtsHeader({ objectType: 2, sampleRateHz: 48_000, channels: 2 }, 8_190)).toThrow(
      ServiceError,
    );
    const random = new SeededRandom(3);
    const wrong = fuzz(20_000, () => {
      const { sampleRateHz } = parseAacConfig(random.bytes(random.int(12)));
      return sampleRateHz >= 7_350 && sampleRateHz <= 96_000;
    });
    expect(wrong).toEqual([]);
  });
});

describe('Opus', () => {
  test.each([
    ['20 ms SILK mono', bytes(1 << 3), 1, 20_000],
    ['60 ms SILK', bytes(3 << 3), 1, 60_000],
    ['two 10 ms hybrid frames, stereo', bytes((12 << 3) | 4 | 1), 2, 20_000],
    ['20 ms CELT stereo', bytes((31 << 3) | 4), 2, 20_000],
    ['six 20 ms frames', bytes((31 << 3) | 3, 6), 1, 120_000],
  ])('%s', (_case, packet, channels, durationUs) => {
    expect(parseOpusPacket(packet)).toMatchObject({ channels, durationUs });
  });

  test.each([
    ['empty', bytes()],
    ['no frame count', bytes((31 << 3) | 3)],
    ['no frames', bytes((31 << 3) | 3, 0)],
    ['140 ms', bytes((31 << 3) | 3, 7)],
  ])('%s is refused', (_case, packet) => {
    expect(() => parseOpusPacket(packet)).toThrow(ServiceError);
  });
});

describe('VP8', () => {
  test('key frame with its size; scaling bits are not size', () => {
    const key = bytes(0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 0x80, 0x42, 0x68, 0x81);
    expect(parseVp8Header(key)).toEqual({ key: true, width: 640, height: 360 });
    expect(parseVp8Header(bytes(0x31, 0, 0))).toEqual({ key: false });
  });

  test.each([
    ['empty', bytes()],
    ['wrong start code', bytes(0x10, 0x02, 0x00, 0x9d, 0x01, 0x2b, 0x80, 2, 0x68, 1)],
    ['cut off', bytes(0x10, 0x02, 0x00, 0x9d)],
    ['no width', bytes(0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 0, 0, 0x68, 1)],
    ['unknown version', bytes(0x1e, 0, 0)],
  ])('%s is no frame', (_case, frame) => {
    expect(parseVp8Header(frame)).toBeUndefined();
  });
});
