import { describe, expect, it } from 'vitest';
import { parsePlaylist, playlistText, programDateTime } from '../../../services/media/hls/playlist.ts';

const AT = Date.UTC(2026, 0, 2, 15, 4, 5, 60);
const segments = Array.from({ length: 7 }, (_, index) => ({
  name: `p_0000${index}.ts`,
  durationUs: 4_000_000 + index * 1000,
  startedAtMs: AT + index * 4000,
}));

describe('HLS playlists', () => {
  it('are byte for byte what LiveKit writes: event', () => {
    const text = playlistText({
      kind: 'event',
      segments: segments.slice(0, 2),
      targetDurationS: 4,
      hasEnded: true,
    });
    expect(text).toBe(
      [
        '#EXTM3U',
        '#EXT-X-VERSION:4',
        '#EXT-X-PLAYLIST-TYPE:EVENT',
        '#EXT-X-ALLOW-CACHE:NO',
        '#EXT-X-TARGETDURATION:4',
        '#EXT-X-MEDIA-SEQUENCE:0',
        '#EXT-X-PROGRAM-DATE-TIME:2026-01-02T15:04:05.06Z',
        '#EXTINF:4.000,',
        'p_00000.ts',
        '#EXT-X-PROGRAM-DATE-TIME:2026-01-02T15:04:09.06Z',
        '#EXTINF:4.001,',
        'p_00001.ts',
        '#EXT-X-ENDLIST',
        '',
      ].join('\n'),
    );
  });

  it('live: a window of five that counts on, without a type', () => {
    const text = playlistText({ kind: 'live', segments, targetDurationS: 4, hasEnded: false });
    expect(text.split('\n').slice(0, 8)).toEqual([
      '#EXTM3U',
      '#EXT-X-VERSION:4',
      '#EXT-X-ALLOW-CACHE:NO',
      '#EXT-X-TARGETDURATION:4',
      '#EXT-X-MEDIA-SEQUENCE:2',
      '#EXT-X-PROGRAM-DATE-TIME:2026-01-02T15:04:13.06Z',
      '#EXTINF:4.002,',
      'p_00002.ts',
    ]);
    expect(text.match(/\.ts$/gm)).toHaveLength(5);
    expect(text).not.toContain('ENDLIST');
  });

  it('raise the target duration to the longest segment, as players demand', () => {
    const long = segments.slice(0, 1).map((segment) => ({ ...segment, durationUs: 6_600_000 }));
    expect(playlistText({ kind: 'event', segments: long, targetDurationS: 4, hasEnded: false })).toContain(
      '#EXT-X-TARGETDURATION:7\n',
    );
  });

  it.each([
    [0, '2026-01-02T15:04:05Z'],
    [100, '2026-01-02T15:04:05.1Z'],
    [67, '2026-01-02T15:04:05.067Z'],
    [5000, '2026-01-02T15:04:10Z'],
  ])('write %i ms without trailing zeros', (ms, text) => {
    expect(programDateTime(Date.UTC(2026, 0, 2, 15, 4, 5) + ms)).toBe(text);
  });

  it('can be read again, up to where a crash cut them', () => {
    const text = playlistText({ kind: 'event', segments, targetDurationS: 4, hasEnded: false });
    expect(parsePlaylist(text)).toEqual(segments);
    expect(parsePlaylist(text.slice(0, -4))).toEqual(segments.slice(0, -1));
    expect(parsePlaylist('')).toEqual([]);
  });
});
