import { describe, expect, it } from 'vitest';
import { AudioRouting, chooseVideo } from '../../../services/egress/room-media/track-choice.ts';
import type { AudioRoute, AudioSelection } from '../../../services/model/egress-plan.ts';
import type { RemoteTrack } from '../../../services/rtc-client/room-client-types.ts';

function track(sid: string, fields: Partial<RemoteTrack> = {}): RemoteTrack {
  return {
    ...{ trackSid: sid, kind: 'audio', codec: 'opus', source: 'microphone', name: sid, width: 0, height: 0 },
    ...{ muted: false, participantIdentity: 'alice', participantSid: 'PA_alice' },
    ...fields,
  };
}
const camera = track('TR_cam', { kind: 'video', codec: 'vp8', source: 'camera' });
const screen = track('TR_screen', { kind: 'video', codec: 'vp8', source: 'screen_share' });
const unnamed = track('TR_late', { kind: 'video', codec: 'h264', source: 'unknown' });
const bobs = track('TR_bob', { kind: 'video', codec: 'h264', source: 'camera', participantIdentity: 'bob' });

describe('chooseVideo', () => {
  const of = (preferScreenShare: boolean) =>
    ({ from: 'participant', identity: 'alice', preferScreenShare }) as const;

  it.each([
    { name: 'nothing when there is no picture', tracks: [], selection: of(false), sid: undefined },
    { name: 'the camera', tracks: [bobs, screen, camera], selection: of(false), sid: 'TR_cam' },
    { name: 'no screen for a camera', tracks: [screen], selection: of(false), sid: undefined },
    { name: 'the screen if preferred', tracks: [screen, camera], selection: of(true), sid: 'TR_screen' },
    { name: 'the camera without a screen', tracks: [camera], selection: of(true), sid: 'TR_cam' },
    { name: 'the last of several', tracks: [camera, unnamed], selection: of(false), sid: 'TR_late' },
    {
      name: 'a named track whoever publishes it',
      tracks: [camera, bobs],
      selection: { from: 'track', trackId: 'TR_bob' } as const,
      sid: 'TR_bob',
    },
    {
      name: 'nothing for sound only',
      tracks: [camera],
      selection: { from: 'none' } as const,
      sid: undefined,
    },
  ])('takes $name', ({ tracks, selection, sid }) => {
    expect(chooseVideo(tracks, selection)?.trackSid).toBe(sid);
  });
});

describe('AudioRouting', () => {
  function routing(routes: AudioRoute[], fields: Partial<AudioSelection> = {}): AudioRouting {
    return new AudioRouting({ captureAll: false, mixing: 'default', routes, ...fields });
  }
  const byTrack = (trackId: string, channel: AudioRoute['channel']): AudioRoute => ({
    match: { by: 'track', trackId },
    channel,
  });
  const byIdentity = (
    identity: string,
    source: 'microphone' | 'screen_share_audio' | 'any',
    channel: AudioRoute['channel'] = 'both',
  ): AudioRoute => ({ match: { by: 'participant', identity, source }, channel });

  it('records what a route names, on its channel, and nothing else', () => {
    const routes = routing([byTrack('TR_1', 'left'), byIdentity('bob', 'any', 'right')]);
    expect(routes.channelOf(track('TR_1'), 'standard')).toBe('left');
    expect(routes.channelOf(track('TR_2', { participantIdentity: 'bob' }), 'standard')).toBe('right');
    expect(routes.channelOf(track('TR_3'), 'standard')).toBeUndefined();
    expect(routes.channelOf(camera, 'standard')).toBeUndefined();
  });

  it('tells microphones from screen sound; what names no source is a microphone', () => {
    const screenSound = track('TR_s', { source: 'screen_share_audio' });
    const microphone = routing([byIdentity('alice', 'microphone')]);
    expect(microphone.channelOf(track('TR_m'), 'standard')).toBe('both');
    expect(microphone.channelOf(track('TR_u', { source: 'unknown' }), 'standard')).toBe('both');
    expect(microphone.channelOf(screenSound, 'standard')).toBeUndefined();
    expect(routing([byIdentity('alice', 'screen_share_audio')]).channelOf(screenSound, 'standard')).toBe(
      'both',
    );
  });

  it('matches the kind of a participant by its number (agent = 4, SIP = 3)', () => {
    const routes = routing([
      { match: { by: 'kind', participantKind: 4 }, channel: 'left' },
      { match: { by: 'kind', participantKind: 3 }, channel: 'right' },
    ]);
    expect(routes.channelOf(track('TR_1'), 'agent')).toBe('left');
    expect(routes.channelOf(track('TR_1'), 'sip')).toBe('right');
    expect(routes.channelOf(track('TR_1'), 'standard')).toBeUndefined();
  });

  it('takes everything else to both channels with captureAll', () => {
    const routes = routing([byTrack('TR_1', 'left')], { captureAll: true });
    expect(routes.channelOf(track('TR_1'), 'standard')).toBe('left');
    expect(routes.channelOf(track('TR_2'), 'standard')).toBe('both');
  });

  it('puts agents left and everybody else right', () => {
    const routes = routing([], { captureAll: true, mixing: 'dual_channel_agent' });
    expect(routes.channelOf(track('TR_1'), 'agent')).toBe('left');
    expect(routes.channelOf(track('TR_2'), 'standard')).toBe('right');
  });

  it('deals out channels to participants in turn, and remembers them', () => {
    const routes = routing([], { captureAll: true, mixing: 'dual_channel_alternate' });
    const sides = ['ann', 'ben', 'cid', 'ann', 'ben'].map((participantIdentity, index) =>
      routes.channelOf(track(`TR_${String(index)}`, { participantIdentity }), 'standard'),
    );
    expect(sides).toEqual(['left', 'right', 'left', 'left', 'right']);
  });
});
