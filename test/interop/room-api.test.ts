import { DataPacket_Kind, RoomServiceClient, TrackType } from 'livekit-server-sdk';
import { DisconnectReason, RoomEvent } from '@livekit/rtc-node';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { startApi, type Api } from '../../services/api/api-server.ts';
import { createLogger } from '../../services/base/logger.ts';
import { createMetrics } from '../../services/base/metrics/metrics.ts';
import { MemoryEgressStore } from '../../services/bus/egress-store.ts';
import { MemoryIngressStore } from '../../services/bus/ingress-store.ts';
import { eventually } from '../support/livekit-page.ts';
import { RtcNodePeer } from '../support/rtc-node-peer.ts';
import { API_KEY, API_SECRET, startSfuServer, type SfuServer } from '../support/sfu-server.ts';
import { silentWebhooks } from '../support/webhooks.ts';

let server: SfuServer;
let api: Api;
let rooms: RoomServiceClient;
let wsUrl: string;
const peers: RtcNodePeer[] = [];

/** The real API and the real SFU on one port, as in the program. */
beforeAll(async () => {
  server = await startSfuServer();
  api = await startApi({
    bus: server.bus,
    keys: new Map([[API_KEY, API_SECRET]]),
    logger: createLogger({ level: 'silent' }),
    metrics: createMetrics({ nodeId: 'ND_test', processMetrics: false }),
    port: 0,
    bindAddresses: ['127.0.0.1'],
    mounts: {
      upgrade: (req, socket, head) => server.sfu.handleUpgrade(req, socket, head),
      request: (req, res) => server.sfu.handleRequest(req, res),
    },
    egressStore: new MemoryEgressStore(),
    ingressStore: new MemoryIngressStore(),
    webhooks: silentWebhooks(),
    ingressBaseUrls: () => ({ rtmp: '', whip: '' }),
    recordingsDir: '/nonexistent',
    homeDir: '/nonexistent',
    openOnLoopback: false,
    status: () => ({
      name: 'sluice',
      version: '',
      dev_keys: false,
      ports: { http: 0, rtmp: 0, rtc_udp: 0 },
      services: [],
    }),
    ready: () => ({ ready: true, checks: {} }),
  });
  rooms = new RoomServiceClient(`http://127.0.0.1:${api.port}`, API_KEY, API_SECRET);
  wsUrl = `ws://127.0.0.1:${api.port}`;
});
afterEach(async () => {
  await Promise.all(peers.splice(0).map((peer) => peer.close()));
  // Of a test that failed.
  await Promise.all((await rooms.listRooms()).map(({ name }) => rooms.deleteRoom(name)));
});
afterAll(async () => {
  await api.close('test over');
  await server.close();
  await RtcNodePeer.dispose();
});

async function join(identity: string, room: string, video = {}): Promise<RtcNodePeer> {
  const peer = await RtcNodePeer.connect(wsUrl, await server.joinToken(identity, room, { video }));
  peers.push(peer);
  return peer;
}

it('lets livekit-server-sdk run a room that LiveKit’s Rust client is in', async () => {
  const created = await rooms.createRoom({
    name: 'studio',
    emptyTimeout: 60,
    maxParticipants: 5,
    metadata: 'first',
  });
  expect(created).toMatchObject({ name: 'studio', emptyTimeout: 60, maxParticipants: 5, metadata: 'first' });
  const alice = await join('alice', 'studio');
  const bob = await join('bob', 'studio');
  const trackSid = await alice.publishTone();

  expect(
    (await rooms.listRooms()).map(({ name, sid, numParticipants }) => [name, sid, numParticipants]),
  ).toEqual([['studio', created.sid, 2]]);
  expect(await rooms.listRooms(['elsewhere'])).toEqual([]);
  const participants = await rooms.listParticipants('studio');
  expect(participants.map(({ identity }) => identity)).toEqual(['alice', 'bob']);
  await eventually(
    'the published track',
    async () => (await rooms.getParticipant('studio', 'alice')).tracks.map(({ sid, type }) => [sid, type]),
    (tracks) => JSON.stringify(tracks) === JSON.stringify([[trackSid, TrackType.AUDIO]]),
  );

  await eventually(
    'sound',
    () => bob.audios.get(trackSid)?.peak ?? 0,
    (peak) => peak > 6_000,
  );
  expect((await rooms.mutePublishedTrack('studio', 'alice', trackSid, true)).muted).toBe(true);
  await expect(rooms.mutePublishedTrack('studio', 'alice', trackSid, false)).rejects.toMatchObject({
    code: 'failed_precondition',
    message: 'remote unmute not enabled',
  });
  await expect(rooms.mutePublishedTrack('studio', 'alice', 'TR_none', true)).rejects.toMatchObject({
    code: 'not_found',
  });

  await rooms.sendData('studio', Buffer.from('news'), DataPacket_Kind.RELIABLE, {
    topic: 'desk',
    destinationIdentities: ['bob'],
  });
  await eventually(
    'data',
    () => bob.data,
    (data) => data.length > 0,
  );
  expect(bob.data).toEqual([{ text: 'news', from: '', topic: 'desk' }]);
  expect(alice.data).toEqual([]);

  await rooms.updateParticipant('studio', 'bob', {
    name: 'Bob',
    metadata: 'guest',
    attributes: { seat: '2' },
  });
  const seen = () => alice.room.remoteParticipants.get('bob');
  await eventually(
    'the new metadata',
    () => seen()?.metadata,
    (metadata) => metadata === 'guest',
  );
  expect([seen()?.name, seen()?.attributes]).toEqual(['Bob', { seat: '2' }]);

  const metadataChanged = new Promise<string>((resolve) =>
    bob.room.once(RoomEvent.RoomMetadataChanged, resolve),
  );
  expect((await rooms.updateRoomMetadata('studio', 'second')).metadata).toBe('second');
  expect(await metadataChanged).toBe('second');

  const gone = new Promise<DisconnectReason>((resolve) => bob.room.once(RoomEvent.Disconnected, resolve));
  await rooms.removeParticipant('studio', 'bob');
  expect(await gone).toBe(DisconnectReason.PARTICIPANT_REMOVED);
  const closed = new Promise<DisconnectReason>((resolve) => alice.room.once(RoomEvent.Disconnected, resolve));
  await rooms.deleteRoom('studio');
  expect(await closed).toBe(DisconnectReason.ROOM_DELETED);
  expect(await rooms.listRooms()).toEqual([]);
});

it('says LiveKit’s words for what is not there', async () => {
  const noRoom = { code: 'not_found', message: 'requested room does not exist' };
  await expect(rooms.listParticipants('nowhere')).rejects.toMatchObject(noRoom);
  await expect(rooms.deleteRoom('nowhere')).rejects.toMatchObject(noRoom);
  await expect(rooms.sendData('nowhere', Buffer.from('x'), DataPacket_Kind.LOSSY, {})).rejects.toMatchObject(
    noRoom,
  );
  await rooms.createRoom({ name: 'empty' });
  await expect(rooms.getParticipant('empty', 'nobody')).rejects.toMatchObject({
    code: 'not_found',
    message: 'participant does not exist',
  });
  await rooms.deleteRoom('empty');
});

it('moves subscriptions and rights of participants from outside', async () => {
  const alice = await join('alice', 'rights');
  const bob = await join('bob', 'rights');
  const trackSid = await alice.publishVideo(320, 240);
  const frames = () => bob.videos.get(trackSid)?.frames ?? 0;
  await eventually('video', frames, (count) => count > 5);
  await rooms.updateSubscriptions('rights', 'bob', [trackSid], false);
  // The Rust client has no event for an unsubscription it did not ask for: its pictures just end.
  let before = -1;
  let sameReads = 0;
  await eventually('the end of the video', frames, (count) => {
    sameReads = count === before ? sameReads + 1 : 0;
    before = count;
    return sameReads === 5;
  });
  await rooms.updateSubscriptions('rights', 'bob', [trackSid], true);
  await eventually('video again', frames, (count) => count > before + 5);

  const unpublished = new Promise((resolve) => bob.room.once(RoomEvent.TrackUnpublished, resolve));
  await rooms.updateParticipant('rights', 'alice', {
    permission: { canSubscribe: true, canPublish: false, canPublishData: true },
  });
  await unpublished;
  await rooms.deleteRoom('rights');
});
