import { execFileSync } from 'node:child_process';
import { beforeAll, describe, expect, it } from 'vitest';
import { MatroskaReader } from '../../../services/media/ffmpeg/matroska-reader.ts';

let file: Buffer;

beforeAll(() => {
  file = execFileSync('ffmpeg', [
    ...['-v', 'error', '-f', 'lavfi', '-i', 'testsrc=size=64x48:rate=10', '-f', 'lavfi', '-i', 'sine=1000'],
    ...['-t', '1', '-c:v', 'libvpx', '-g', '5', '-c:a', 'libopus', '-ac', '2'],
    ...['-f', 'matroska', '-cluster_time_limit', '0', 'pipe:1'],
  ]);
});

describe('Matroska from a pipe', () => {
  it.each([1, 7, 4096, 1_000_000])('reads tracks and packets in pieces of %i bytes', (pieceBytes) => {
    const reader = new MatroskaReader();
    const packets = [];
    for (let at = 0; at < file.length; at += pieceBytes) {
      packets.push(...reader.push(file.subarray(at, at + pieceBytes)));
    }
    expect(reader.tracks).toMatchObject([
      { kind: 'video', codecId: 'V_VP8', width: 64, height: 48 },
      { kind: 'audio', codecId: 'A_OPUS', channels: 2, sampleRateHz: 48_000 },
    ]);
    expect(reader.tracks?.[1]?.codecPrivate.toString('latin1', 0, 8)).toBe('OpusHead');
    const video = packets.filter(({ track }) => track.kind === 'video');
    // Opus starts 6.5 ms before the picture, and nothing is before 0.
    const startUs = video[0]?.ptsUs ?? 0;
    expect(startUs).toBe(7_000);
    expect(video.map(({ ptsUs }) => ptsUs - startUs)).toEqual(
      [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map((n) => n * 100_000),
    );
    expect(video.map(({ key }) => key)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map((n) => n % 5 === 0));
    const audio = packets.filter(({ track }) => track.kind === 'audio');
    expect(audio.length).toBeGreaterThanOrEqual(50);
    expect(audio.every(({ key }) => key)).toBe(true);
  });

  it.each([
    ['text', Buffer.from('no media at all, just words that go on')],
    ['zeros', Buffer.alloc(64)],
    ['an element of a gigabyte', Buffer.from('1a45dfa3084000000000', 'hex')],
    ['a track entry longer than its tracks', Buffer.from('1a45dfa3801654ae6b83ae8f00', 'hex')],
  ])('refuses %s', (_name, bytes) => {
    expect(() => new MatroskaReader().push(bytes)).toThrow(/Matroska/);
  });

  it('survives any cut and any flipped byte with an error or fewer packets', () => {
    for (let at = 0; at < Math.min(file.length, 1200); at += 3) {
      const bytes = Buffer.from(file);
      bytes[at] = (bytes[at] ?? 0) ^ 0x5a;
      try {
        new MatroskaReader().push(bytes);
      } catch (error) {
        expect(error).toMatchObject({ name: 'ServiceError', code: 'malformed' });
      }
    }
  });
});
