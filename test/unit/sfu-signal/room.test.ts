/* eslint-disable @typescript-eslint/no-deprecated -- clients in the field still read and write these fields */
import {
  ConnectionQuality,
  DataPacket,
  DisconnectReason,
  LeaveRequest_Action,
  ParticipantInfo_Kind,
  ParticipantInfo_State,
  RequestResponse_Reason,
  TrackSource,
  TrackType,
  UserPacket,
  VideoLayer,
  VideoQuality,
} from '@livekit/protocol';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ConnectionQualities } from '../../../services/sfu/connection-quality.ts';
import type { FakeDataChannel } from './fake-media.ts';
import { TOKEN_REFRESH } from '../../../services/sfu/token-refresh.ts';
import { clientOffer } from './offers/client-offer.ts';
import { SignalHarness, type JoinOptions, type SignalClient } from './signal-harness.ts';

let harness: SignalHarness;
beforeEach(async () => {
  harness = await new SignalHarness().start();
});
afterEach(async () => {
  vi.useRealTimers();
  await harness.close();
});

const LAYERS = [
  new VideoLayer({ quality: VideoQuality.LOW, width: 320, height: 180 }),
  new VideoLayer({ quality: VideoQuality.MEDIUM, width: 640, height: 360 }),
  new VideoLayer({ quality: VideoQuality.HIGH, width: 1280, height: 720 }),
];

async function publishCamera(client: SignalClient, cid = 'cam'): Promise<string> {
  const { track } = await client.addTrack({
    cid,
    type: TrackType.VIDEO,
    source: TrackSource.CAMERA,
    layers: LAYERS,
  });
  await client.offer(
    clientOffer([{ kind: 'video', direction: 'sendonly', trackId: cid, rids: ['q', 'h', 'f'] }]),
  );
  client.transport.connect();
  return track?.sid ?? '';
}

/** Joins with a connected transport and one free video section. */
async function viewer(identity: string, options: JoinOptions = {}): Promise<SignalClient> {
  const client = await harness.join(identity, options);
  client.transport.connect();
  await client.offer(clientOffer([{ kind: 'video', direction: 'recvonly' }]));
  return client;
}

const reoffer = (client: SignalClient) =>
  client.offer(clientOffer([{ kind: 'video', direction: 'recvonly' }]));
const onlyForwarder = (client: SignalClient) => [...client.transport.media.forwarders][0];

describe('who is there', () => {
  it('shows late joiners everybody with their tracks, and everybody the late joiner', async () => {
    const alice = await harness.join('alice', {
      token: { name: 'Alice', metadata: 'm', kind: 'ingress', attributes: { a: '1' } },
    });
    const trackSid = await publishCamera(alice);
    const bob = await harness.open('bob');
    const { otherParticipants } = await bob.next('join');
    expect(otherParticipants).toHaveLength(1);
    expect(otherParticipants[0]).toMatchObject({
      identity: 'alice',
      name: 'Alice',
      metadata: 'm',
      kind: ParticipantInfo_Kind.INGRESS,
      attributes: { a: '1' },
      state: ParticipantInfo_State.ACTIVE,
      isPublisher: true,
    });
    expect(otherParticipants[0]?.tracks.map(({ sid }) => sid)).toEqual([trackSid]);
    await alice.next('update', ({ participants }) => participants[0]?.identity === 'bob');
    bob.send({ case: 'leave', value: {} as never });
    const left = await alice.next(
      'update',
      ({ participants }) => participants[0]?.state === ParticipantInfo_State.DISCONNECTED,
    );
    expect(left.participants[0]).toMatchObject({
      identity: 'bob',
      disconnectReason: DisconnectReason.CLIENT_INITIATED,
    });
  });

  it('raises the version with every change', async () => {
    const alice = await harness.join('alice');
    await harness.join('bob');
    alice.transport.connect();
    const versions: number[] = [];
    for (let change = 0; change < 3; change += 1) {
      alice.send({ case: 'updateMetadata', value: { metadata: `m${change}` } as never });
    }
    await alice.settled();
    const response = await alice.next('requestResponse');
    expect(response.reason).toBe(RequestResponse_Reason.NOT_ALLOWED);
    const carol = await harness.join('carol', { video: { canUpdateOwnMetadata: true } });
    for (let change = 0; change < 3; change += 1) {
      carol.send({ case: 'updateMetadata', value: { metadata: `m${change}`, requestId: 1 } as never });
      await carol.next('requestResponse', ({ reason }) => reason === RequestResponse_Reason.OK);
      const update = await alice.next(
        'update',
        ({ participants }) => participants[0]?.metadata === `m${change}`,
      );
      versions.push(update.participants[0]?.version ?? 0);
    }
    expect([...versions].sort((a, b) => a - b)).toEqual(versions);
    expect(new Set(versions).size).toBe(3);
  });

  it('hides hidden participants and shows recordings', async () => {
    const alice = await harness.join('alice');
    const egress = await harness.open('egress', {
      video: { hidden: true, recorder: true, canPublish: false },
    });
    const { otherParticipants, room } = await egress.next('join');
    expect(otherParticipants.map(({ identity }) => identity)).toEqual(['alice']);
    expect(room?.numParticipants).toBe(1);
    expect((await alice.next('roomUpdate')).room?.activeRecording).toBe(true);
    egress.transport.connect();
    egress.send({ case: 'leave', value: {} as never });
    expect((await alice.next('roomUpdate')).room?.activeRecording).toBe(false);
    const news = alice.waiting('update').flatMap(({ participants }) => participants);
    expect(news.map(({ identity }) => identity)).not.toContain('egress');
  });

  it('ends the older session of an identity', async () => {
    const first = await harness.join('alice');
    const second = await harness.join('alice');
    expect((await first.next('leave')).reason).toBe(DisconnectReason.DUPLICATE_IDENTITY);
    await first.whenClosed();
    await second.settled();
    expect(first.transport.state).toBe('closed');
  });
});

describe('grants', () => {
  it('refuse tracks, sources and data that are not allowed', async () => {
    const mute = await harness.join('mute', { video: { canPublish: false, canPublishData: false } });
    mute.send({
      case: 'addTrack',
      value: { cid: 'x', type: TrackType.VIDEO, layers: [], simulcastCodecs: [] } as never,
    });
    expect((await mute.next('requestResponse')).reason).toBe(RequestResponse_Reason.NOT_ALLOWED);

    const screen = await harness.join('screen', { video: { canPublishSources: ['screen_share'] } });
    await screen.addTrack({ cid: 's', type: TrackType.VIDEO, source: TrackSource.SCREEN_SHARE });
    screen.send({
      case: 'addTrack',
      value: {
        cid: 'c',
        type: TrackType.VIDEO,
        source: TrackSource.CAMERA,
        layers: [],
        simulcastCodecs: [],
      } as never,
    });
    expect((await screen.next('requestResponse')).reason).toBe(RequestResponse_Reason.NOT_ALLOWED);

    const channel = mute.transport.openFromClient('_reliable');
    const listening = screen.transport.openFromClient('_reliable');
    channel.events.emit('message', userPacket('no'));
    expect(listening.sent).toEqual([]);
  });

  it('keep a participant without canSubscribe from receiving', async () => {
    const alice = await harness.join('alice');
    await publishCamera(alice);
    const bob = await viewer('bob', { video: { canSubscribe: false } });
    expect((await reoffer(bob)).midToTrackId).toEqual({});
  });

  it('can be changed while they are in use', async () => {
    const alice = await harness.join('alice');
    const trackSid = await publishCamera(alice);
    const bob = await viewer('bob');
    expect((await reoffer(bob)).midToTrackId).toEqual({ '0': trackSid });
    const room = harness.rooms.get('room');
    const rights = room.participant('alice').permissions;
    room.participant('bob').setPermissions({ ...rights, canSubscribe: false });
    expect((await reoffer(bob)).midToTrackId).toEqual({});
    room.participant('alice').setPermissions({ ...rights, canPublish: false });
    expect((await alice.next('trackUnpublished')).trackSid).toBe(trackSid);
    await bob.next(
      'update',
      ({ participants }) => participants[0]?.identity === 'alice' && participants[0].tracks.length === 0,
    );
    expect(alice.transport.media.publications.size).toBe(0);
  });

  it('let a publisher choose its subscribers', async () => {
    const alice = await harness.join('alice');
    const trackSid = await publishCamera(alice);
    const bob = await viewer('bob');
    await reoffer(bob);
    alice.send({
      case: 'subscriptionPermission',
      value: { allParticipants: false, trackPermissions: [] } as never,
    });
    expect(await bob.next('subscriptionPermissionUpdate')).toMatchObject({ trackSid, allowed: false });
    expect((await reoffer(bob)).midToTrackId).toEqual({});
    alice.send({
      case: 'subscriptionPermission',
      value: {
        allParticipants: false,
        trackPermissions: [
          { participantSid: '', participantIdentity: 'bob', allTracks: true, trackSids: [] },
        ],
      } as never,
    });
    expect(await bob.next('subscriptionPermissionUpdate')).toMatchObject({ trackSid, allowed: true });
    expect((await reoffer(bob)).midToTrackId).toEqual({ '0': trackSid });
  });
});

function userPacket(text: string, fields: ConstructorParameters<typeof DataPacket>[0] = {}): Uint8Array {
  return new DataPacket({
    ...fields,
    participantIdentity: 'somebody else',
    value: {
      case: 'user',
      value: new UserPacket({ payload: Buffer.from(text), participantSid: 'PA_forged' }),
    },
  }).toBinary();
}

function texts(channel: FakeDataChannel): string[] {
  return channel.sent.map((bytes) => {
    const { value } = DataPacket.fromBinary(bytes);
    return value.case === 'user' ? Buffer.from(value.value.payload).toString() : String(value.case);
  });
}

describe('data', () => {
  it('carries the true sender, reaches the addressed, and is not repeated', async () => {
    const [alice, bob, carol] = [
      await harness.join('alice'),
      await harness.join('bob'),
      await harness.join('carol'),
    ];
    const out = alice.transport.openFromClient('_reliable');
    const toBob = bob.transport.openFromClient('_reliable');
    const toCarol = carol.transport.openFromClient('_reliable');
    const lossyCarol = carol.transport.openFromClient('_lossy');
    out.events.emit('message', userPacket('one', { sequence: 1 }));
    out.events.emit('message', userPacket('two', { sequence: 2, destinationIdentities: ['carol'] }));
    out.events.emit('message', userPacket('one', { sequence: 1 }));
    alice.transport.openFromClient('_lossy').events.emit('message', userPacket('fast'));
    alice.transport.openFromClient('_data_track').events.emit('message', userPacket('other format'));
    out.events.emit('message', Buffer.from('garbage'));
    out.events.emit(
      'message',
      new DataPacket({ value: { case: 'speaker', value: { speakers: [] } } }).toBinary(),
    );
    expect(texts(toBob)).toEqual(['one']);
    expect(texts(toCarol)).toEqual(['one', 'two']);
    expect(texts(lossyCarol)).toEqual(['fast']);
    const packet = DataPacket.fromBinary(toBob.sent[0] ?? new Uint8Array());
    expect(packet).toMatchObject({ participantIdentity: 'alice', participantSid: alice.sid, sequence: 1 });
    expect(packet.value.value).toMatchObject({ participantSid: alice.sid, participantIdentity: 'alice' });
  });

  it('drops lossy packets for a slow reader and reconnects one that is too slow for reliable ones', async () => {
    const alice = await harness.join('alice');
    const bob = await harness.join('bob');
    const reliable = bob.transport.openFromClient('_reliable');
    const lossy = bob.transport.openFromClient('_lossy');
    lossy.bufferedBytes = 10_000_000;
    alice.transport.openFromClient('_lossy').events.emit('message', userPacket('late'));
    expect(lossy.sent).toEqual([]);
    reliable.bufferedBytes = 100_000_000;
    alice.transport.openFromClient('_reliable').events.emit('message', userPacket('too much'));
    expect((await bob.next('leave')).action).toBe(LeaveRequest_Action.RECONNECT);
  });
});

describe('layers', () => {
  it('follow size and quality, and tell the publisher what is wanted', async () => {
    const alice = await harness.join('alice');
    const trackSid = await publishCamera(alice);
    const bob = await viewer('bob');
    await reoffer(bob);
    const setting = (value: object) => {
      bob.send({ case: 'trackSetting', value: { trackSids: [trackSid], ...value } as never });
      return bob.settled();
    };
    const enabled = (update: { subscribedCodecs: { qualities: { enabled: boolean }[] }[] }) =>
      update.subscribedCodecs[0]?.qualities.map((quality) => quality.enabled);
    expect(enabled(await alice.next('subscribedQualityUpdate'))).toEqual([true, true, true]);

    await setting({ width: 200, height: 100 });
    expect(onlyForwarder(bob)?.maxLayer).toBe(0);
    await setting({ width: 600, height: 300 });
    expect(onlyForwarder(bob)?.maxLayer).toBe(1);
    await setting({ width: 5000, height: 3000 });
    expect(onlyForwarder(bob)?.maxLayer).toBe(2);
    await setting({ quality: VideoQuality.MEDIUM });
    expect(onlyForwarder(bob)?.maxLayer).toBe(1);
    await setting({ disabled: true });
    expect(onlyForwarder(bob)?.paused).toBe(true);
    await setting({ quality: VideoQuality.HIGH });
    expect(onlyForwarder(bob)).toMatchObject({ paused: false, maxLayer: 2 });
  });

  it('are taken from the publisher only after a while, and given back at once', async () => {
    const alice = await harness.join('alice');
    const trackSid = await publishCamera(alice);
    const bob = await viewer('bob');
    await reoffer(bob);
    await alice.next('subscribedQualityUpdate');
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const { subscriptions } = harness.rooms.get('room').participant('bob');
    subscriptions.configure([trackSid], { disabled: false, quality: 0, width: 0, height: 0 });
    await vi.advanceTimersByTimeAsync(4000);
    subscriptions.configure([trackSid], { disabled: false, quality: 1, width: 0, height: 0 });
    await vi.advanceTimersByTimeAsync(4999);
    vi.useRealTimers();
    await alice.settled();
    expect(alice.waiting('subscribedQualityUpdate')).toEqual([]);

    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    subscriptions.choose([trackSid], false);
    await vi.advanceTimersByTimeAsync(5000);
    vi.useRealTimers();
    const off = await alice.next('subscribedQualityUpdate');
    expect(off.subscribedCodecs[0]?.qualities.map(({ enabled }) => enabled)).toEqual([false, false, false]);
    subscriptions.choose([trackSid], true);
    const on = await alice.next('subscribedQualityUpdate');
    // The layer asked for before still counts.
    expect(on.subscribedCodecs[0]?.qualities.map(({ enabled }) => enabled)).toEqual([true, true, false]);
  });

  it('are not asked for when nobody comes at all', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const alice = await harness.join('alice');
    await publishCamera(alice);
    await vi.advanceTimersByTimeAsync(5000);
    vi.useRealTimers();
    const off = await alice.next('subscribedQualityUpdate');
    expect(off.subscribedQualities.map(({ enabled }) => enabled)).toEqual([false, false, false]);
    await viewer('bob');
    const on = await alice.next('subscribedQualityUpdate');
    expect(on.subscribedQualities.map(({ enabled }) => enabled)).toEqual([true, true, true]);
  });

  it('pause while the track is muted', async () => {
    const alice = await harness.join('alice');
    const trackSid = await publishCamera(alice);
    const bob = await viewer('bob');
    await reoffer(bob);
    alice.send({ case: 'mute', value: { sid: trackSid, muted: true } as never });
    const update = await bob.next('update', ({ participants }) => participants[0]?.tracks[0]?.muted === true);
    expect(update.participants[0]?.identity).toBe('alice');
    expect(onlyForwarder(bob)?.paused).toBe(true);
    alice.send({ case: 'mute', value: { sid: trackSid, muted: false } as never });
    await bob.next('update', ({ participants }) => participants[0]?.tracks[0]?.muted === false);
    expect(onlyForwarder(bob)?.paused).toBe(false);
  });
});

describe('reconnecting', () => {
  it('resumes the session of a broken socket, with what was sent and received', async () => {
    const alice = await harness.join('alice');
    const trackSid = await publishCamera(alice);
    const bob = await viewer('bob');
    await reoffer(bob);
    alice.transport.openFromClient('_reliable').events.emit('message', userPacket('seven', { sequence: 7 }));
    const { transport } = alice;
    alice.socket.terminate();
    const again = await harness.open('alice', { join: { reconnect: true, participantSid: alice.sid } });
    expect((await again.next('reconnect')).lastMessageSeq).toBe(7);
    const { participants } = await again.next('update');
    expect(participants.map(({ identity }) => identity).sort()).toEqual(['alice', 'bob']);
    expect(transport.state).toBe('connected');
    expect(onlyForwarder(bob)?.publication).toBe(transport.media.publications.get('0'));
    again.send({
      case: 'syncState',
      value: {
        subscription: { trackSids: [], subscribe: false, participantTracks: [] },
        trackSidsDisabled: [],
      } as never,
    });
    await again.settled();
    expect(
      bob.waiting('update').flatMap(({ participants: news }) => news.map(({ state }) => state)),
    ).not.toContain(ParticipantInfo_State.DISCONNECTED);
    expect(trackSid).not.toBe('');
  });

  it('sends a client whose session is gone to start anew', async () => {
    const lost = await harness.open('alice', { join: { reconnect: true, participantSid: 'PA_gone' } });
    expect(await lost.next('leave')).toMatchObject({
      action: LeaveRequest_Action.RECONNECT,
      reason: DisconnectReason.STATE_MISMATCH,
      canReconnect: true,
    });
    await harness.join('alice');
    const wrong = await harness.open('alice', { join: { reconnect: true, participantSid: 'PA_other' } });
    expect((await wrong.next('leave')).action).toBe(LeaveRequest_Action.RECONNECT);
  });

  it('gives up a participant that does not come back, or whose media is lost', async () => {
    const alice = await harness.join('alice');
    const bob = await harness.join('bob');
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const closed = alice.whenClosed();
    alice.socket.terminate();
    await closed;
    await vi.waitFor(
      () => {
        expect(vi.getTimerCount()).toBeGreaterThan(0);
      },
      { timeout: 15_000 },
    );
    await vi.advanceTimersByTimeAsync(21_000);
    vi.useRealTimers();
    const left = await bob.next(
      'update',
      ({ participants }) => participants[0]?.state === ParticipantInfo_State.DISCONNECTED,
    );
    expect(left.participants[0]?.disconnectReason).toBe(DisconnectReason.SIGNAL_CLOSE);

    bob.transport.connect();
    bob.transport.state = 'failed';
    bob.transport.events.emit('state', 'failed');
    expect((await bob.next('leave')).action).toBe(LeaveRequest_Action.RECONNECT);
  });

  it('hands out a fresh token every few minutes, which lasts until the one after the next', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    const alice = await harness.join('alice');
    for (let count = 0; count < 2; count += 1) {
      vi.advanceTimersByTime(TOKEN_REFRESH.intervalMs);
      const token = await alice.next('refreshToken');
      const { exp = 0 } = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as {
        exp?: number;
      };
      expect(exp * 1000 - Date.now()).toBeGreaterThan(TOKEN_REFRESH.intervalMs);
    }
  });

  it('hands out fresh tokens that say what the participant may do now', async () => {
    const alice = await harness.join('alice', { token: { name: 'Alice' }, video: { canPublish: false } });
    harness.rooms.get('room').participant('alice').refreshToken();
    const token = await alice.next('refreshToken');
    const response = await fetch(`http://${harness.baseUrl}/rtc/v1/validate?access_token=${token}`);
    expect(response.status).toBe(200);
    const claims = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as {
      video: { canPublish: boolean; room: string };
      name: string;
    };
    expect(claims).toMatchObject({ name: 'Alice', video: { canPublish: false, room: 'room' } });
  });
});

describe('the end of a room', () => {
  it('comes after its timeouts: never joined, everybody left, only recorders left', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    harness.rooms.create({ name: 'unused', emptyTimeoutS: 3 });
    await vi.advanceTimersByTimeAsync(2999);
    expect(harness.rooms.find('unused')).toBeDefined();
    await vi.advanceTimersByTimeAsync(2);
    expect(harness.rooms.find('unused')).toBeUndefined();
    vi.useRealTimers();

    harness.rooms.create({ name: 'room', departureTimeoutS: 1 });
    const alice = await harness.join('alice');
    const recorder = await harness.join('recorder', { video: { recorder: true, hidden: true } });
    alice.send({ case: 'leave', value: {} as never });
    expect((await recorder.next('leave')).reason).toBe(DisconnectReason.ROOM_CLOSED);
    expect(harness.rooms.find('room')).toBeUndefined();
  });
});

describe('reports', () => {
  it('name the speakers from audio levels and take them back when they are silent', async () => {
    const alice = await harness.join('alice');
    const bob = await harness.join('bob');
    await alice.addTrack({ cid: 'mic', type: TrackType.AUDIO, source: TrackSource.MICROPHONE });
    await alice.offer(clientOffer([{ kind: 'audio', direction: 'sendonly', trackId: 'mic' }]));
    const publication = alice.transport.media.publications.get('0');
    if (publication === undefined) {
      throw new Error('not published');
    }
    publication.audioLevel = 10;
    const { speakers } = await bob.next('speakersChanged');
    expect(speakers).toHaveLength(1);
    expect(speakers[0]).toMatchObject({ sid: alice.sid, active: true });
    publication.audioLevel = 127;
    await bob.next('speakersChanged', (change) => change.speakers[0]?.active === false);
  });

  it('grade connections by their loss, and repeat nothing', async () => {
    const alice = await harness.join('alice');
    await publishCamera(alice);
    const bob = await viewer('bob');
    await reoffer(bob);
    const room = harness.rooms.get('room');
    const qualities = new ConnectionQualities({ participants: () => room.participants() });
    const told = async (client: SignalClient) => {
      await client.settled();
      return client
        .waiting('connectionQuality')
        .flatMap(({ updates }) => updates.map(({ participantSid, quality }) => [participantSid, quality]));
    };
    qualities.update();
    qualities.update();
    expect(await told(alice)).toEqual([
      [alice.sid, ConnectionQuality.EXCELLENT],
      [bob.sid, ConnectionQuality.EXCELLENT],
    ]);
    const forwarder = onlyForwarder(bob);
    const publication = alice.transport.media.publications.get('0');
    if (forwarder === undefined || publication === undefined) {
      throw new Error('nothing flows');
    }
    forwarder.fractionLost = 0.05;
    publication.layerStats = [{ layer: 0, rid: 'q', bitrateKbps: 1, active: true, packets: 80, lost: 20 }];
    qualities.update();
    qualities.close();
    expect((await told(alice)).slice(2)).toEqual([
      [alice.sid, ConnectionQuality.POOR],
      [bob.sid, ConnectionQuality.GOOD],
    ]);
  });

  it('answer pings both ways they are sent', async () => {
    const alice = await harness.join('alice');
    alice.send({ case: 'pingReq', value: { timestamp: 7n, rtt: 0n } as never });
    expect((await alice.next('pongResp')).lastPingTimestamp).toBe(7n);
    await alice.settled();
  });
});
