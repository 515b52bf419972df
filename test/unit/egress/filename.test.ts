import { describe, expect, it } from 'vitest';
import { expandFilepath, knownFolder, type FilenameValues } from '../../../services/model/egress-filename.ts';

const values: FilenameValues = {
  defaultStem: 'studio',
  roomName: 'studio',
  roomId: 'RM_1',
  trackId: '',
  publisherIdentity: '',
  trackType: '',
  trackSource: '',
  startedAtMs: Date.UTC(2026, 0, 2, 15, 4, 5, 67),
};
const ofTrack: FilenameValues = {
  ...values,
  defaultStem: 'TR_1',
  trackId: 'TR_1',
  publisherIdentity: 'alice',
  trackType: 'video',
  trackSource: 'camera',
};
const local = new Date(values.startedAtMs - new Date(values.startedAtMs).getTimezoneOffset() * 60_000)
  .toISOString()
  .slice(0, 19)
  .replaceAll(':', '');

describe('file names', () => {
  it.each([
    ['{room_name}/{room_id}-{utc}', values, 'mp4', 'studio/RM_1-20260102150405067.mp4'],
    ['{time}', values, 'mp4', `${local}.mp4`],
    [
      '{publisher_identity}-{track_type}-{track_source}-{track_id}-{retry}',
      ofTrack,
      'webm',
      'alice-video-camera-TR_1-0.webm',
    ],
    ['', values, 'mp4', `studio-${local}.mp4`],
    ['out/', ofTrack, 'ogg', `out/TR_1-${local}.ogg`],
    ['a.ogg', values, 'mp4', 'a.mp4'],
    ['a.mp4', values, 'mp4', 'a.mp4'],
    ['a.v2', values, 'mp4', 'a.v2.mp4'],
    ['../../etc/x.mp4', values, 'mp4', 'etc/x.mp4'],
    ['/data/x.mp4', values, 'mp4', '/data/x.mp4'],
    ['{unknown}.mp4', values, 'mp4', '{unknown}.mp4'],
  ] as const)('%s', (template, facts, kind, expected) => {
    expect(expandFilepath(template, facts, kind)).toBe(expected);
  });

  it('never lets a name of a room or participant add folders', () => {
    const hostile = {
      ...ofTrack,
      roomName: '../../etc',
      publisherIdentity: 'a/b\\c\u0000d',
      trackSource: '..',
    };
    expect(expandFilepath('{room_name}/{publisher_identity}/{track_source}/x', hostile, 'mp4')).toBe(
      '.._.._etc/a_b_c_d/__/x.mp4',
    );
  });

  it('knows the folder that can be checked before the track is there', () => {
    expect(knownFolder('a/{room_name}/{publisher_identity}/x.mp4', values)).toBe('a/studio/');
    expect(knownFolder('x.mp4', values)).toBe('');
    expect(knownFolder('/data/{track_id}/', ofTrack)).toBe('/data/TR_1/');
  });
});
