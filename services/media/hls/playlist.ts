/** One closed segment of a playlist. */
export type PlaylistSegment = {
  /** Relative to the playlist. */
  name: string;
  durationUs: number;
  /** Wall clock of its first packet, unix milliseconds. */
  startedAtMs: number;
};

export type PlaylistOptions = {
  /** event = everything since the start; live = a window that moves on. */
  kind: 'event' | 'live';
  segments: readonly PlaylistSegment[];
  /** As requested; grows with the longest segment (RFC 8216 section 4.3.3.1). */
  targetDurationS: number;
  hasEnded: boolean;
};

/** Segments a live playlist shows. */
const LIVE_WINDOW = 5;
const ENDLIST = '#EXT-X-ENDLIST';

/** An HLS media playlist, byte for byte as LiveKit's egress writes them. */
export function playlistText(options: PlaylistOptions): string {
  const { kind, segments, targetDurationS, hasEnded } = options;
  const first = kind === 'live' ? Math.max(0, segments.length - LIVE_WINDOW) : 0;
  const longestUs = segments.reduce((longest, { durationUs }) => Math.max(longest, durationUs), 0);
  const lines = [
    '#EXTM3U',
    '#EXT-X-VERSION:4',
    ...(kind === 'event' ? ['#EXT-X-PLAYLIST-TYPE:EVENT'] : []),
    '#EXT-X-ALLOW-CACHE:NO',
    `#EXT-X-TARGETDURATION:${Math.max(Math.ceil(targetDurationS), Math.round(longestUs / 1e6))}`,
    `#EXT-X-MEDIA-SEQUENCE:${first}`,
    ...segments.slice(first).flatMap(segmentLines),
    ...(hasEnded ? [ENDLIST] : []),
  ];
  return `${lines.join('\n')}\n`;
}

export function segmentLines({ name, durationUs, startedAtMs }: PlaylistSegment): string[] {
  return [
    `#EXT-X-PROGRAM-DATE-TIME:${programDateTime(startedAtMs)}`,
    `#EXTINF:${(durationUs / 1e6).toFixed(3)},`,
    name,
  ];
}

/** UTC with up to three decimals, trailing zeros cut: `2026-01-02T15:04:05.06Z`. */
export function programDateTime(unixMs: number): string {
  const text = new Date(Math.round(unixMs)).toISOString();
  return text.replace(/\.?0*Z$/, 'Z');
}

/** The segments of a playlist this module wrote; other lines and a half-written end are skipped. */
export function parsePlaylist(text: string): PlaylistSegment[] {
  const segments: PlaylistSegment[] = [];
  let startedAtMs = NaN;
  let durationUs = NaN;
  // What follows the last line end was cut off while it was written.
  for (const line of text.split('\n').slice(0, -1)) {
    if (line.startsWith('#EXT-X-PROGRAM-DATE-TIME:')) {
      startedAtMs = Date.parse(line.slice(line.indexOf(':') + 1));
    } else if (line.startsWith('#EXTINF:')) {
      durationUs = Math.round(Number.parseFloat(line.slice('#EXTINF:'.length)) * 1e6);
    } else if (line !== '' && !line.startsWith('#') && !Number.isNaN(startedAtMs + durationUs)) {
      segments.push({ name: line, durationUs, startedAtMs });
      durationUs = NaN;
    }
  }
  return segments;
}
