import { describe, expect, test } from 'vitest';
import { parseAudioFrames, type FramedAudioCodec } from '../../../services/media/codecs/audio-frames.ts';
import { flacFileHeader, parseFlacConfig } from '../../../services/media/codecs/flac.ts';

const filled = (head: readonly number[], bytes: number): Buffer =>
  Buffer.concat([Buffer.from(head), Buffer.alloc(Math.max(0, bytes - head.length))]);
/** 48 kHz, stereo, 128 kbit/s: 384 bytes. */
const MP3 = filled([0xff, 0xfb, 0x94, 0x64], 384);
const AC3 = filled([0x0b, 0x77, 0x0b, 0xd5, 0x14, 0x40, 0x43], 100);
/** 48 kHz, six blocks, 3/2 with low frequencies, 384 words. */
const EAC3 = filled([0x0b, 0x77, 0x01, 0x7f, 0x3f, 0x87, 0xc0], 768);
/** As FFmpeg 8 sends it: 48 kHz, stereo, 16 bit. */
const STREAM_INFO = Buffer.from(
  '1200120000034600055f0bb802f00002ee00bbd65737acc3dca2c54385b653288af4',
  'hex',
);

describe('frames that say what they are', () => {
  test.each<[string, FramedAudioCodec, Buffer, object]>([
    ['MP3', 'mp3', MP3, { sampleRateHz: 48_000, channels: 2, samples: 1152 }],
    ['two MP3 frames', 'mp3', Buffer.concat([MP3, MP3]), { samples: 2304 }],
    ['MP3 and a tag behind it', 'mp3', Buffer.concat([MP3, Buffer.from('TAG padding')]), { samples: 1152 }],
    [
      'MP3 of half the rate, mono',
      'mp3',
      filled([0xff, 0xf3, 0x40, 0xc4], 104),
      { sampleRateHz: 22_050, channels: 1, samples: 576 },
    ],
    ['AC-3', 'ac3', AC3, { sampleRateHz: 48_000, channels: 2, samples: 1536 }],
    ['E-AC-3, 5.1', 'eac3', EAC3, { sampleRateHz: 48_000, channels: 6, samples: 1536 }],
    [
      'E-AC-3 with a dependent substream',
      'eac3',
      Buffer.concat([EAC3, filled([0x0b, 0x77, 0x41, 0x7f, 0x3f, 0x87, 0xc0], 768)]),
      { samples: 1536 },
    ],
    ['FLAC', 'flac', filled([0xff, 0xf8, 0xca, 0x18, 0], 20), { sampleRateHz: 48_000, samples: 4096 }],
    [
      'FLAC, any size',
      'flac',
      filled([0xff, 0xf8, 0x7a, 0x88, 0xc3, 0x80, 0x03, 0x45], 20),
      { samples: 838 },
    ],
  ])('%s', (_title, codec, data, expected) => {
    expect(parseAudioFrames(codec, data)).toMatchObject(expected);
  });

  test.each<[FramedAudioCodec, readonly number[]]>([
    ['mp3', [0xff, 0xfb]],
    ['mp3', [0, 0, 0, 0]],
    ['mp3', [0xff, 0xfd, 0x94, 0x64]], // layer II
    ['ac3', [0x0b, 0x78, 0, 0, 0, 0, 0]],
    ['ac3', [0x0b, 0x77, 0, 0, 0xc0, 0x40, 0]],
    ['eac3', [0x0b, 0x77, 0x41, 0x7f, 0x3f, 0x87, 0xc0]],
    ['flac', [0xff, 0xf8, 0x0a, 0x18, 0, 0, 0, 0, 0, 0, 0, 0]],
    ['flac', [0xff, 0xf8, 0xca]],
  ])('%s in %j is refused', (codec, bytes) => {
    expect(() => parseAudioFrames(codec, Uint8Array.from(bytes))).toThrow(/MP3|AC-3|FLAC/);
  });

  test('STREAMINFO is read with and without what stands before it in a file', () => {
    const bare = parseFlacConfig(STREAM_INFO);
    expect(bare).toMatchObject({ sampleRateHz: 48_000, channels: 2 });
    expect(parseFlacConfig(flacFileHeader(STREAM_INFO))).toEqual(bare);
    expect(() => parseFlacConfig(STREAM_INFO.subarray(1))).toThrow('STREAMINFO');
    expect(() => parseFlacConfig(Buffer.alloc(34))).toThrow('sample rate');
  });
});
