import { describe, expect, it, vi } from 'vitest';
import { monotonicUs } from '../../../services/base/clock.ts';
import { SafeEmitter } from '../../../services/base/events.ts';
import { createLogger } from '../../../services/base/logger.ts';
import type { EgressSource, SourceEnd } from '../../../services/egress/sources/source-types.ts';
import { createMediaSource } from '../../../services/egress/sources/media-source.ts';
import type { MediaJob } from '../../../services/model/egress-plan.ts';
import type { EncodedPacket } from '../../../services/model/packet.ts';
import type {
  RemoteTrack,
  RoomClient,
  RoomClientEvents,
  TrackSubscriptionEvents,
} from '../../../services/rtc-client/room-client-types.ts';
import { encodeMedia } from '../../support/encoded-media.ts';

// Work for the CPU, which others may have.
vi.setConfig({ testTimeout: 120_000 });

const logger = createLogger({ level: 'silent' });
const encoding = {
  ...{ width: 320, height: 240, framerate: 30, videoBitrateKbps: 500, keyFrameIntervalS: 1 },
  ...{ audioBitrateKbps: 64, audioSampleRateHz: 48_000, audioCodec: 'aac' as const },
};
const HEAR_ALL: MediaJob = {
  ...{ kind: 'media', video: { from: 'none' }, endsWith: 'room' },
  audio: { captureAll: true, routes: [], mixing: 'default' },
};
const SEE_ALICE: MediaJob = {
  ...{ kind: 'media', endsWith: 'participant' },
  video: { from: 'participant', identity: 'alice', preferScreenShare: false },
  audio: { captureAll: false, routes: [], mixing: 'default' },
};

/** A room in memory: tracks appear, subscriptions say what the test lets them say. */
class FakeClient {
  readonly events = new SafeEmitter<RoomClientEvents>();
  readonly present: RemoteTrack[] = [];
  people = [{ identity: 'alice', sid: 'PA_alice', name: '', kind: 'standard' }];
  readonly subscriptions = new Map<string, SafeEmitter<TrackSubscriptionEvents>>();
  readonly subscribed: string[] = [];
  refusal: Error | undefined;
  readonly client = {
    ...{ roomSid: 'RM_x', roomName: 'x', participantSid: 'PA_me', identity: 'me', events: this.events },
    tracks: () => this.present,
    participants: () => this.people,
    subscribe: (trackSid: string) => {
      this.subscribed.push(trackSid);
      if (this.refusal !== undefined) {
        return Promise.reject(this.refusal);
      }
      const events = new SafeEmitter<TrackSubscriptionEvents>();
      this.subscriptions.set(trackSid, events);
      const track = this.present.find((candidate) => candidate.trackSid === trackSid);
      return Promise.resolve({
        ...{ track, events, requestKeyframe: () => undefined, unsubscribe: () => Promise.resolve() },
      });
    },
    close: () => Promise.resolve(),
  } as unknown as RoomClient;

  publish(trackSid: string, kind: 'video' | 'audio'): RemoteTrack {
    const track: RemoteTrack = {
      ...{ trackSid, kind, codec: kind === 'video' ? 'h264' : 'opus', name: '', width: 0, height: 0 },
      ...{ source: kind === 'video' ? 'camera' : 'microphone', muted: false },
      ...{ participantIdentity: 'alice', participantSid: 'PA_alice' },
    };
    this.present.push(track);
    this.events.emit('trackPublished', track);
    return track;
  }

  unpublish(track: RemoteTrack): void {
    this.present.splice(this.present.indexOf(track), 1);
    this.subscriptions.get(track.trackSid)?.emit('ended', { cause: 'the track was unpublished' });
    this.events.emit('trackUnpublished', track);
  }
}

function source(job: MediaJob, room: FakeClient, waitMs = 200): EgressSource {
  return createMediaSource({
    ...{ job, encoding, wsUrl: 'ws://x', token: 't', waitMs, ffmpegPath: 'ffmpeg', logger },
    connect: () => Promise.resolve(room.client),
  });
}

function collect(from: EgressSource): { packets: EncodedPacket[]; ended: Promise<SourceEnd> } {
  const packets: EncodedPacket[] = [];
  from.events.on('packet', (packet) => packets.push(packet));
  const ended = new Promise<SourceEnd>((resolve) => {
    from.events.on('ended', resolve);
  });
  return { packets, ended };
}

const never = new AbortController().signal;

describe('media source', () => {
  it('keeps what it has when the connection to the room fails for good', async () => {
    const room = new FakeClient();
    room.publish('TR_a', 'audio');
    const { audio } = await encodeMedia({ audio: 'opus', seconds: 1 });
    const recorded = source(HEAR_ALL, room);
    const { packets, ended } = collect(recorded);
    const started = recorded.start(never);
    await expect.poll(() => room.subscriptions.has('TR_a'), { timeout: 15_000 }).toBe(true);
    const baseUs = monotonicUs();
    await Promise.resolve();
    for (const packet of audio?.packets ?? []) {
      room.subscriptions.get('TR_a')?.emit('packet', { ...packet, ptsUs: baseUs + packet.ptsUs });
    }
    expect(await started).toEqual({ kinds: ['audio'] });
    await new Promise((resolve) => setTimeout(resolve, 1_100));
    room.events.emit('disconnected', { reason: 'SIGNAL_TIMEOUT' });
    const end = await ended;
    expect(end).toMatchObject({ reason: 'failed', error: { code: 'unavailable' } });
    expect(String(end.reason === 'failed' ? end.error : '')).toContain(
      'recording ended early: connection to room failed (SIGNAL_TIMEOUT)',
    );
    await recorded.stop();
    const lastUs = packets.at(-1)?.ptsUs ?? 0;
    expect(lastUs).toBeGreaterThan(850_000);
    expect(packets[0]?.ptsUs).toBeLessThan(30_000);
    await recorded.close('test over');
  });

  it('ends like a source that closed when the room is deleted', async () => {
    const room = new FakeClient();
    const recorded = source(HEAR_ALL, room);
    const { ended } = collect(recorded);
    await recorded.start(never); // an empty room is silent from the start
    room.events.emit('disconnected', { reason: 'ROOM_DELETED' });
    expect(await ended).toEqual({ reason: 'source_closed' });
    await recorded.close('test over');
  });

  it('is black from the start when tracks are muted, and counts pictures without a gap', async () => {
    const room = new FakeClient();
    room.publish('TR_v', 'video').muted = true;
    const recorded = source(SEE_ALICE, room);
    const { packets } = collect(recorded);
    expect(await recorded.start(never)).toEqual({ kinds: ['video'] });
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    await recorded.stop();
    const video = packets.filter(({ kind }) => kind === 'video');
    expect(video.length).toBeGreaterThan(35);
    expect(video[0]?.key).toBe(true);
    video.forEach(({ ptsUs }, index) => {
      expect(ptsUs).toBe(Math.round((index * 1e6) / 30));
    });
    expect(video.filter(({ key }) => key).map(({ ptsUs }) => ptsUs % 1_000_000)).toEqual(
      video.filter(({ key }) => key).map(() => 0),
    );
    await recorded.close('test over');
  });

  it('says who is missing, bridges a short absence and ends after a long one', async () => {
    const room = new FakeClient();
    room.people = [];
    await expect(source(SEE_ALICE, room).start(never)).rejects.toMatchObject({
      code: 'not_found',
      message: 'participant alice not found',
    });
    const named: MediaJob = { ...SEE_ALICE, video: { from: 'track', trackId: 'TR_v' }, endsWith: 'tracks' };
    await expect(source(named, room).start(never)).rejects.toMatchObject({
      code: 'not_found',
      message: 'track TR_v not found',
    });
    const track = room.publish('TR_v', 'video');
    const recorded = source(named, room);
    const { ended } = collect(recorded);
    let hasEnded = false;
    void ended.then(() => {
      hasEnded = true;
    });
    await recorded.start(never);
    room.unpublish(track);
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    const again = room.publish('TR_v', 'video');
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    expect(hasEnded).toBe(false);
    expect(room.subscribed).toEqual(['TR_v', 'TR_v']);
    room.unpublish(again);
    expect(await ended).toEqual({ reason: 'source_closed' });
    await recorded.close('test over');
  });

  it('fails to start with the reason when its track is refused, and stops when it is told to', async () => {
    const room = new FakeClient();
    room.publish('TR_v', 'video');
    room.refusal = new Error('the publisher does not let us');
    const refused = source(SEE_ALICE, room);
    await expect(refused.start(never)).rejects.toThrow('the publisher does not let us');
    await refused.close('test over');

    const quiet = new FakeClient();
    const waiting = source(SEE_ALICE, quiet);
    const stop = new AbortController();
    const started = waiting.start(stop.signal);
    setTimeout(() => {
      stop.abort();
    }, 300);
    await expect(started).rejects.toMatchObject({ code: 'canceled' });
    await waiting.close('test over');
  });
});
