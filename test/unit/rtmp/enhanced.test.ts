import { describe, expect, test } from 'vitest';
import { parseRtmpAudio, parseRtmpVideo } from '../../../services/protocol/flv-enhanced.ts';
import { enhancedBody, opusHead, type EnhancedOptions } from '../../support/enhanced-rtmp.ts';

const DATA = Buffer.from('data');

describe('Enhanced RTMP video', () => {
  test.each([
    ['avc1', 'h264'],
    ['hvc1', 'h265'],
    ['vp08', 'vp8'],
    ['vp09', 'vp9'],
    ['av01', 'av1'],
  ])('%s is %s', (fourCc, codec) => {
    const body = (packetType: number, head: number, data: Buffer): Buffer =>
      enhancedBody({ kind: 'video', head, fourCc, packetType, data });
    const reordered = fourCc === 'avc1' || fourCc === 'hvc1';
    expect(parseRtmpVideo(body(0, 0x10, DATA))).toEqual([
      { codec, trackId: 0, video: { packet: 'config', data: DATA } },
    ]);
    const timed = Buffer.concat([Buffer.from([0xff, 0xff, 0xd8]), DATA]);
    expect(parseRtmpVideo(body(1, 0x10, reordered ? timed : DATA))).toEqual([
      {
        codec,
        trackId: 0,
        video: { packet: 'frame', key: true, compositionMs: reordered ? -40 : 0, data: DATA },
      },
    ]);
    expect(parseRtmpVideo(body(3, 0x20, DATA))).toEqual([
      { codec, trackId: 0, video: { packet: 'frame', key: false, compositionMs: 0, data: DATA } },
    ]);
    expect(parseRtmpVideo(body(2, 0x10, Buffer.alloc(0)))).toEqual([
      { codec, trackId: 0, video: { packet: 'end' } },
    ]);
    expect(parseRtmpVideo(body(4, 0x10, DATA))).toEqual([]);
    expect(parseRtmpVideo(body(5, 0x10, DATA))).toEqual([]);
    expect(parseRtmpVideo(body(1, 0x50, DATA))).toEqual([]);
  });

  test.each<[string, EnhancedOptions, number[]]>([
    ['modifiers', { modEx: true }, [0]],
    ['one track', { multitrack: 'one', trackId: 3 }, [3]],
    ['many tracks', { multitrack: 'many' }, [0, 1]],
    ['many tracks of many codecs, one of them unknown', { multitrack: 'manyCodecs' }, [0]],
    ['modifiers before many tracks', { modEx: true, multitrack: 'many', trackId: 1 }, [1, 2]],
  ])('%s', (_case, form, trackIds) => {
    const video = parseRtmpVideo(
      enhancedBody({ kind: 'video', head: 0x10, fourCc: 'vp09', packetType: 1, data: DATA, form }),
    );
    expect(video.map(({ trackId }) => trackId)).toEqual(trackIds);
    expect(video[0]?.video).toEqual({ packet: 'frame', key: true, compositionMs: 0, data: DATA });
    const audio = parseRtmpAudio(
      enhancedBody({ kind: 'audio', head: 0x90, fourCc: 'Opus', packetType: 1, data: DATA, form }),
    );
    expect(audio.map(({ trackId }) => trackId)).toEqual(trackIds);
    expect(audio[0]).toMatchObject({ codec: 'opus', audio: { packet: 'frame', data: DATA } });
  });

  test.each([
    ['mp4a', 'aac'],
    ['Opus', 'opus'],
    ['.mp3', 'mp3'],
    ['fLaC', 'flac'],
    ['ac-3', 'ac3'],
    ['ec-3', 'eac3'],
  ])('%s is %s', (fourCc, codec) => {
    const body = (packetType: number): Buffer =>
      enhancedBody({ kind: 'audio', head: 0x90, fourCc, packetType, data: DATA });
    expect(parseRtmpAudio(body(0))).toEqual([{ codec, trackId: 0, audio: { packet: 'config', data: DATA } }]);
    expect(parseRtmpAudio(body(1))).toEqual([{ codec, trackId: 0, audio: { packet: 'frame', data: DATA } }]);
    // The end of a sequence, and a layout of channels.
    expect(parseRtmpAudio(body(2))).toEqual([]);
    expect(parseRtmpAudio(body(4))).toEqual([]);
  });

  test('the old form is read as before', () => {
    expect(parseRtmpVideo(Buffer.from([0x17, 1, 0, 0, 40, 9]))).toEqual([
      {
        codec: 'h264',
        trackId: 0,
        video: { packet: 'frame', key: true, compositionMs: 40, data: Buffer.from([9]) },
      },
    ]);
    expect(parseRtmpAudio(Buffer.from([0xaf, 0, 0x12, 0x10]))[0]).toMatchObject({ codec: 'aac' });
    expect(parseRtmpVideo(Buffer.alloc(0))).toEqual([]);
    expect(parseRtmpAudio(Buffer.alloc(0))).toEqual([]);
  });

  const video = (bytes: readonly number[]) => () => parseRtmpVideo(Buffer.from(bytes));
  const audio = (bytes: readonly number[]) => () => parseRtmpAudio(Buffer.from(bytes));
  test.each<[string, () => unknown, string]>([
    [
      'an unknown video codec',
      video([0x90, ...Buffer.from('vvc1')]),
      'codec "vvc1" of Enhanced RTMP; set the encoder to H.264, HEVC',
    ],
    ['an unprintable one', video([0x90, 1, 2, 3, 4]), 'codec 0x01020304'],
    [
      'an unknown audio codec',
      audio([0x90, ...Buffer.from('mhm1')]),
      'codec "mhm1" of Enhanced RTMP; set the encoder to AAC, Opus, MP3',
    ],
    ['no codec', video([0x90, 0x61]), 'cut off'],
    ['half a composition time', video([0x91, ...Buffer.from('avc1'), 0, 0]), 'cut off'],
    ['a modifier without an end', video([0x97, 255, 0xff, 0xff]), 'cut off'],
    [
      'modifiers for ever',
      video([
        0x97,
        ...Array<number>(60)
          .fill([0, 0, 7] as never)
          .flat(),
      ]),
      'more than 16 modifiers',
    ],
    ['multitrack inside multitrack', video([0x96, 0x06, ...Buffer.from('avc1'), 0]), 'multitrack header'],
    ['an unknown layout of tracks', audio([0x95, 0x31]), 'multitrack header'],
    [
      'a track longer than the message',
      video([0x96, 0x11, ...Buffer.from('av01'), 0, 0xff, 0xff, 0xff]),
      'cut off',
    ],
    ['Speex in the old form', audio([0xbf, 0]), 'Speex'],
  ])('%s is refused', (_case, parse, reason) => {
    expect(parse).toThrow(reason);
  });

  test('the identification header of Opus is what RFC 7845 says', () => {
    expect(opusHead().toString('latin1', 0, 8)).toBe('OpusHead');
  });
});
