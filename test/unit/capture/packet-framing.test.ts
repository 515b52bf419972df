import { describe, expect, test } from 'vitest';
import {
  HEADER_BYTES,
  readChunk,
  writeHeader,
  type CapturedChunk,
} from '../../../services/egress/capture/packet-framing.ts';
import { readRecorderEvent } from '../../../services/egress/capture/recorder-protocol.ts';

function frame(chunk: CapturedChunk): Uint8Array {
  const message = new Uint8Array(HEADER_BYTES + chunk.data.byteLength);
  writeHeader(message, chunk);
  message.set(chunk.data, HEADER_BYTES);
  return message;
}

describe('binary messages', () => {
  const chunks: CapturedChunk[] = [
    {
      kind: 'video',
      key: true,
      captureUs: 2_487_369_500,
      arrivalUs: 799_200.25,
      sequence: 7,
      data: Uint8Array.of(0, 0, 0, 1, 0x67),
    },
    {
      kind: 'pcm',
      sampleRateHz: 44_100,
      captureUs: 779_500,
      arrivalUs: 800_400,
      sequence: 2 ** 32 - 1,
      data: new Uint8Array(1764),
    },
  ];

  test.each(chunks)('$kind survives the way', (chunk) => {
    expect(readChunk(frame(chunk))).toEqual(chunk);
  });

  test('a message inside a larger buffer is read from its own start', () => {
    const [video] = chunks;
    const message = frame(video as CapturedChunk);
    const pool = Buffer.alloc(message.length + 13);
    pool.set(message, 13);
    expect(readChunk(pool.subarray(13))).toMatchObject({ key: true, sequence: 7 });
  });

  test.each([
    ['empty', new Uint8Array(0)],
    ['a header without payload', new Uint8Array(HEADER_BYTES)],
    ['an unknown kind', new Uint8Array(HEADER_BYTES + 4).fill(9)],
    ['half a stereo sample', frame(chunks[1] as CapturedChunk).subarray(0, HEADER_BYTES + 6)],
    ['a time that is no number', new Uint8Array(HEADER_BYTES + 4).fill(0xff).fill(1, 0, 1)],
  ])('%s is refused', (_name, message) => {
    expect(readChunk(message)).toBeUndefined();
  });
});

describe('text messages', () => {
  test('known events are read, unknown statistics ignored', () => {
    expect(readRecorderEvent('{"type":"clock","id":3,"workerUs":12.5}')).toEqual({
      type: 'clock',
      id: 3,
      workerUs: 12.5,
    });
    expect(readRecorderEvent('{"type":"stopped","stats":{"framesEncoded":4,"x":1}}')).toMatchObject({
      type: 'stopped',
      stats: { framesEncoded: 4, framesDropped: 0 },
    });
  });

  test.each([
    '',
    '{',
    'null',
    '[]',
    '{"type":"clock"}',
    '{"type":"audio","sampleRateHz":-1}',
    '{"type":"x"}',
  ])('%j is refused', (text) => {
    expect(readRecorderEvent(text)).toBeUndefined();
  });
});
