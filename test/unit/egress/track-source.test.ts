import { describe, expect, it } from 'vitest';
import { SafeEmitter } from '../../../services/base/events.ts';
import { createLogger } from '../../../services/base/logger.ts';
import { createTrackSource } from '../../../services/egress/sources/track-source.ts';
import type { EncodedPacket } from '../../../services/model/packet.ts';
import type {
  RemoteTrack,
  RoomClient,
  RoomClientEvents,
  RoomClientOptions,
  TrackSubscriptionEvents,
} from '../../../services/rtc-client/room-client-types.ts';

const TRACK: RemoteTrack = {
  trackSid: 'TR_1',
  kind: 'audio',
  codec: 'opus',
  source: 'microphone',
  name: 'mic',
  width: 0,
  height: 0,
  muted: false,
  participantIdentity: 'alice',
  participantSid: 'PA_1',
};

const packetAt = (ptsUs: number): EncodedPacket => ({
  kind: 'audio',
  ptsUs,
  dtsUs: ptsUs,
  durationUs: 20_000,
  key: true,
  data: Uint8Array.of(0xfc, 0xff, 0xfe),
});

/** A source that records TRACK from a room made of emitters. */
async function recording() {
  const room = new SafeEmitter<RoomClientEvents>();
  const track = new SafeEmitter<TrackSubscriptionEvents>();
  const asked: RoomClientOptions[] = [];
  const order: string[] = [];
  const client: RoomClient = {
    ...{ roomSid: 'RM_1', roomName: 'room', participantSid: 'PA_2', identity: 'recorder', events: room },
    tracks: () => [TRACK],
    participants: () => [],
    publish: () => Promise.reject(new Error('a recorder publishes nothing')),
    subscribe: () =>
      Promise.resolve({
        track: TRACK,
        events: track,
        requestKeyframe: () => undefined,
        unsubscribe: () => {
          order.push('unsubscribed');
          return Promise.resolve();
        },
      }),
    updateAttributes: () => undefined,
    updateProfile: () => undefined,
    close: () => Promise.resolve(),
  };
  const source = createTrackSource({
    trackId: TRACK.trackSid,
    wsUrl: 'ws://room',
    token: 'token',
    connect: (options) => {
      asked.push(options);
      return Promise.resolve(client);
    },
    logger: createLogger({ level: 'silent' }),
    trackWaitMs: 1000,
  });
  const recorded: number[] = [];
  source.events.on('packet', ({ ptsUs }) => {
    recorded.push(ptsUs);
    order.push(`packet ${ptsUs}`);
  });
  await source.start(new AbortController().signal);
  return { source, track, recorded, order, asked };
}

describe('a track source', () => {
  it('asks for its media in batches, which no viewer does', async () => {
    const { source, asked } = await recording();
    expect(asked[0]?.mediaBatchMs).toBeGreaterThanOrEqual(100);
    expect(asked[0]?.mediaBatchMs).toBeLessThanOrEqual(500);
    await source.close('test over');
  });

  it('still takes what the server holds back when it is stopped, and nothing after', async () => {
    const { source, track, recorded, order } = await recording();
    track.emit('packet', packetAt(1_000_000));
    const stopping = source.stop();
    track.emit('packet', packetAt(1_020_000));
    await stopping;
    track.emit('packet', packetAt(1_040_000));
    expect(recorded).toEqual([0, 20_000]);
    expect(order).toEqual(['packet 0', 'packet 20000', 'unsubscribed']);
    await source.close('test over');
  });

  it('does not wait when the track has ended by itself', async () => {
    const { source, track, order } = await recording();
    track.emit('packet', packetAt(0));
    track.emit('ended', { cause: 'the track was unpublished' });
    const stopping = source.stop();
    expect(order).toEqual(['packet 0', 'unsubscribed']);
    await stopping;
    await source.close('test over');
  });
});
