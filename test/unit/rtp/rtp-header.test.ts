import { describe, expect, it } from 'vitest';
import {
  extensionLength,
  extensionOffset,
  extensionText,
  findExtension,
  rtpHeaderLength,
  rtpMarker,
  rtpPayloadType,
  rtpSequenceNumber,
  rtpSsrc,
  rtpTimestamp,
  unpaddedLength,
  writeRtpHeader,
} from '../../../services/media/rtp/rtp-header.ts';
import { startsKeyframe, type KeyframeCodec } from '../../../services/media/rtp/keyframe.ts';
import {
  SequenceUnwrapper,
  sequenceDistance,
  TimestampUnwrapper,
} from '../../../services/media/rtp/sequence.ts';
import {
  emptyVp8Descriptor,
  parseVp8Descriptor,
  patchVp8Descriptor,
} from '../../../services/media/rtp/vp8-descriptor.ts';
import { seededRandom } from './seeded-random.ts';

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(/\s/g, ''), 'hex');

describe('header', () => {
  const fields = {
    payloadType: 111,
    marker: true,
    sequenceNumber: 65_535,
    timestamp: 0xffff_ffff,
    ssrc: 0xdead_beef,
  };

  it.each([
    ['no extensions', [], 12],
    [
      'one-byte elements',
      [
        { id: 1, data: Buffer.from('0') },
        { id: 14, data: Buffer.alloc(16, 7) },
      ],
      36,
    ],
    ['an element too long for one byte', [{ id: 1, data: Buffer.alloc(17, 7) }], 36],
    [
      'an id too large for one byte',
      [
        { id: 15, data: Buffer.from('x') },
        { id: 200, data: Buffer.alloc(0) },
      ],
      24,
    ],
  ])('comes back with %s', (_name, extensions, length) => {
    const packet = Buffer.alloc(64);
    expect(writeRtpHeader(packet, { ...fields, extensions })).toBe(length);
    const cut = packet.subarray(0, length);
    expect(rtpHeaderLength(cut)).toBe(length);
    expect(rtpHeaderLength(cut.subarray(0, length - 1))).toBe(-1);
    expect([rtpPayloadType(cut), rtpMarker(cut), rtpSequenceNumber(cut)]).toEqual([111, true, 65_535]);
    expect([rtpTimestamp(cut), rtpSsrc(cut)]).toEqual([0xffff_ffff, 0xdead_beef]);
    for (const { id, data } of extensions) {
      const found = findExtension(cut, id);
      expect(extensionLength(found)).toBe(data.length);
      expect(cut.subarray(extensionOffset(found), extensionOffset(found) + data.length)).toEqual(data);
    }
    expect(findExtension(cut, 9)).toBe(-1);
    expect(findExtension(cut, 0)).toBe(-1);
  });

  it('skips padding between elements and stops at id 15 (RFC 8285 §4.2)', () => {
    const base = '9060 0001 00000001 00000001 bede 0003';
    expect(extensionText(hex(`${base} 00 00 10 61 00 20 62 00 00000000`), 2)).toBe('b');
    expect(findExtension(hex(`${base} f0 61 20 62 00000000 00000000`), 2)).toBe(-1);
    expect(findExtension(hex(`${base} 05 61 20 62 00000000 00000000`), 2)).toBe(-1);
  });

  it('counts CSRCs and takes the padding off', () => {
    const withCsrc = hex('a260 0001 00000001 00000001 00000002 00000003');
    expect(rtpHeaderLength(withCsrc)).toBe(20);
    expect(unpaddedLength(withCsrc, hex('010203 00000004'))).toBe(3);
    expect(unpaddedLength(withCsrc, hex('04 000004'))).toBe(0);
    expect(unpaddedLength(withCsrc, hex('0009'))).toBe(-1);
    expect(unpaddedLength(withCsrc, hex('0000'))).toBe(-1);
    expect(unpaddedLength(withCsrc, Buffer.alloc(0))).toBe(-1);
  });

  it('stays inside the packet whatever the lengths in it say', () => {
    const random = seededRandom(1);
    for (let round = 0; round < 5000; round += 1) {
      const packet = Buffer.from(
        Array.from({ length: 12 + Math.floor(random() * 40) }, () => random() * 256),
      );
      packet[0] = 0x90 | ((packet[0] ?? 0) & 0x03);
      packet.writeUInt16BE(random() < 0.5 ? 0xbede : 0x1000, Math.min(12, packet.length - 2));
      const found = findExtension(packet, 1 + Math.floor(random() * 14));
      if (rtpHeaderLength(packet) > 0 && found >= 0) {
        expect(extensionOffset(found) + extensionLength(found)).toBeLessThanOrEqual(packet.length);
      }
    }
  });
});

describe('wrapping counters', () => {
  it('knows which of two numbers is newer', () => {
    expect(sequenceDistance(0, 65_535)).toBe(1);
    expect(sequenceDistance(65_535, 0)).toBe(-1);
    expect(sequenceDistance(5, 5)).toBe(0);
  });

  it('counts on over wraps, in spite of reordering', () => {
    const sequences = new SequenceUnwrapper();
    const timestamps = new TimestampUnwrapper();
    let expected = 65_000;
    for (let round = 0; round < 400; round += 1, expected += 999) {
      expect(sequences.unwrap(expected & 0xffff)).toBe(expected);
      expect(sequences.unwrap((expected - 5) & 0xffff)).toBe(expected - 5);
      expect(timestamps.unwrap((expected * 100_000) % 2 ** 32)).toBe(
        ((65_000 * 100_000) % 2 ** 32) + (expected - 65_000) * 100_000,
      );
    }
  });
});

describe('VP8 descriptor', () => {
  it.each([
    ['nothing', '10 02', { pictureIdBits: 0, tl0PicIdxOffset: 0, keyFrame: true }],
    ['a 7-bit PictureID', '90 80 7f 11', { pictureIdBits: 7, pictureId: 0x7f, keyFrame: false }],
    ['a 15-bit PictureID', '90 80 ff fe 10', { pictureIdBits: 15, pictureId: 0x7ffe, keyFrame: true }],
    [
      'everything',
      '90 f0 81 02 33 c5 10',
      { pictureId: 0x102, tl0PicIdx: 0x33, temporalLayer: 3, headerLength: 6, keyFrame: true },
    ],
    ['a continuation', '80 80 81 02 00', { keyFrame: false, startOfPartition: false }],
    ['too few bytes', '90 f0 81', { valid: false, keyFrame: false }],
    ['no bytes', '', { valid: false, keyFrame: false }],
  ])('reads one with %s', (_name, bytes, expected) => {
    expect(parseVp8Descriptor(hex(bytes), emptyVp8Descriptor())).toMatchObject(expected);
  });

  it('patches PictureID and TL0PICIDX in their own widths', () => {
    const long = hex('90 f0 81 02 33 c5 10');
    patchVp8Descriptor(long, parseVp8Descriptor(long, emptyVp8Descriptor()), 0x7abc, 0xee);
    expect(long).toEqual(hex('90 f0 fa bc ee c5 10'));
    const short = hex('90 80 7f 11');
    patchVp8Descriptor(short, parseVp8Descriptor(short, emptyVp8Descriptor()), 0x1ff, 0xee);
    expect(short).toEqual(hex('90 80 7f 11'));
  });
});

describe('key frames', () => {
  it.each<[KeyframeCodec, string, string, boolean]>([
    ['h264', 'IDR slice', '65 88', true],
    ['h264', 'SPS', '67 42', true],
    ['h264', 'other slice', '41 9a', false],
    ['h264', 'STAP-A with SPS', '78 0002 6742 0002 68ce', true],
    ['h264', 'STAP-A with SEI only', '78 0002 0605', false],
    ['h264', 'STAP-A with a length beyond the end', '78 ffff 0605', false],
    ['h264', 'first FU-A of an IDR', '7c 85 00', true],
    ['h264', 'later FU-A of an IDR', '7c 05 00', false],
    ['h265', 'VPS', '4001 0c', true],
    ['h265', 'IDR', '2601 af', true],
    ['h265', 'trailing picture', '0201 d0', false],
    ['h265', 'aggregation with SPS', '6001 0003 420101', true],
    ['h265', 'first fragment of an IDR', '6201 93 00', true],
    ['h265', 'later fragment of an IDR', '6201 13 00', false],
    ['vp8', 'key frame', '10 10', true],
    ['vp8', 'inter frame', '10 11', false],
    ['vp9', 'beginning of a key frame', '8c 81 00', true],
    ['vp9', 'second spatial layer of a key picture', 'ac 01 02 00', false],
    ['vp9', 'beginning of an inter frame', 'cc 81 00', false],
    ['vp9', 'middle of a key frame', '84 81 00', false],
    ['av1', 'new coded video sequence', '18 0a', true],
    ['av1', 'other', '10 32', false],
  ])('%s: %s', (codec, _name, bytes, expected) => {
    expect(startsKeyframe(codec, hex(bytes))).toBe(expected);
  });

  it('takes no garbage for a key frame that is not there, and never throws', () => {
    const random = seededRandom(4);
    for (const codec of ['h264', 'h265', 'vp8', 'vp9', 'av1'] as const) {
      expect(startsKeyframe(codec, Buffer.alloc(0))).toBe(false);
      for (let round = 0; round < 2000; round += 1) {
        const garbage = Buffer.from(Array.from({ length: Math.floor(random() * 30) }, () => random() * 256));
        expect(() => startsKeyframe(codec, garbage)).not.toThrow();
      }
    }
  });
});
