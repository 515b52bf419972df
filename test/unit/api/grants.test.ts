import {
  EgressClient,
  EncodedFileOutput,
  IngressClient,
  IngressInput,
  RoomServiceClient,
  ServerError,
} from 'livekit-server-sdk';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { VideoGrant } from '../../../services/model/grants.ts';
import {
  API_KEY,
  API_SECRET,
  serveIdleEgressNode,
  serveStudioRoom,
  startApiHarness,
  type ApiHarness,
} from '../../support/api-harness.ts';

/** Every method, the call body, and the one grant that opens it. */
const METHODS: readonly [service: string, method: string, body: object, grant: VideoGrant][] = [
  ['RoomService', 'CreateRoom', { name: 'new' }, { roomCreate: true }],
  ['RoomService', 'ListRooms', {}, { roomList: true }],
  ['RoomService', 'DeleteRoom', { room: 'studio' }, { roomCreate: true }],
  ['RoomService', 'ListParticipants', { room: 'studio' }, { roomAdmin: true, room: 'studio' }],
  ['RoomService', 'GetParticipant', { room: 'studio', identity: 'ada' }, { roomAdmin: true, room: 'studio' }],
  [
    'RoomService',
    'RemoveParticipant',
    { room: 'studio', identity: 'ada' },
    { roomAdmin: true, room: 'studio' },
  ],
  [
    'RoomService',
    'MutePublishedTrack',
    { room: 'studio', identity: 'ada' },
    { roomAdmin: true, room: 'studio' },
  ],
  [
    'RoomService',
    'UpdateParticipant',
    { room: 'studio', identity: 'ada' },
    { roomAdmin: true, room: 'studio' },
  ],
  [
    'RoomService',
    'UpdateSubscriptions',
    { room: 'studio', identity: 'ada' },
    { roomAdmin: true, room: 'studio' },
  ],
  ['RoomService', 'SendData', { room: 'studio' }, { roomAdmin: true, room: 'studio' }],
  ['RoomService', 'UpdateRoomMetadata', { room: 'studio' }, { roomAdmin: true, room: 'studio' }],
  ['Egress', 'StartEgress', { room_name: 'studio' }, { roomRecord: true }],
  ['Egress', 'StartRoomCompositeEgress', { room_name: 'studio' }, { roomRecord: true }],
  ['Egress', 'StartWebEgress', { url: 'http://127.0.0.1/' }, { roomRecord: true }],
  ['Egress', 'StartParticipantEgress', { room_name: 'studio' }, { roomRecord: true }],
  ['Egress', 'StartTrackCompositeEgress', { room_name: 'studio' }, { roomRecord: true }],
  ['Egress', 'StartTrackEgress', { room_name: 'studio' }, { roomRecord: true }],
  ['Egress', 'ListEgress', {}, { roomRecord: true }],
  ['Ingress', 'CreateIngress', { participant_identity: 'obs' }, { ingressAdmin: true }],
  ['Ingress', 'ListIngress', {}, { ingressAdmin: true }],
];

/** All rights at once, except the ones of `without`. */
function everythingBut(without: VideoGrant): VideoGrant {
  const all: VideoGrant = {
    roomCreate: true,
    roomList: true,
    roomRecord: true,
    roomAdmin: true,
    roomJoin: true,
    ingressAdmin: true,
    room: 'studio',
  };
  return Object.fromEntries(Object.entries(all).filter(([name]) => name === 'room' || !(name in without)));
}

describe('grants', () => {
  let harness: ApiHarness;
  beforeAll(async () => {
    harness = await startApiHarness();
    await serveStudioRoom(harness.bus);
    await serveIdleEgressNode(harness.bus);
  });
  afterAll(() => harness.close());

  const call = async (service: string, method: string, body: object, token?: string): Promise<Response> =>
    fetch(`${harness.url}/twirp/livekit.${service}/${method}`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      },
      body: JSON.stringify(body),
    });

  it.each(METHODS)(
    '%s/%s opens with its grant and with nothing else',
    async (service, method, body, grant) => {
      const allowed = await call(service, method, body, await harness.token(grant));
      expect(allowed.status, await allowed.text()).toBe(200);
      for (const denied of [
        await call(service, method, body, await harness.token(everythingBut(grant))),
        await call(service, method, body, await harness.token({})),
        await call(service, method, body),
      ]) {
        expect(denied.status).toBe(401);
        expect(await denied.json()).toEqual({ code: 'unauthenticated', msg: 'permissions denied' });
      }
    },
  );

  it('counts roomAdmin for the room of the token only', async () => {
    const token = await harness.token({ roomAdmin: true, room: 'elsewhere' });
    expect((await call('RoomService', 'ListParticipants', { room: 'studio' }, token)).status).toBe(401);
  });

  it.each([
    ['a foreign secret', 'other-secret-other-secret-other-secret'],
    ['a swapped signature', undefined],
  ])('refuses a token with %s and never repeats it', async (_name, secret) => {
    const good = await harness.token({ roomList: true });
    const [header, payload] = good.split('.');
    const token =
      secret === undefined
        ? `${header ?? ''}.${payload ?? ''}.AAAA`
        : await new (await import('livekit-server-sdk')).AccessToken(API_KEY, secret, {
            identity: 'x',
          }).toJwt();
    const answer = await call('RoomService', 'ListRooms', {}, token);
    expect(answer.status).toBe(401);
    const text = await answer.text();
    expect(text).toContain('unauthenticated');
    expect(text).not.toContain(token);
  });

  it('works through livekit-server-sdk unmodified', async () => {
    const rooms = new RoomServiceClient(harness.url, API_KEY, API_SECRET);
    expect((await rooms.createRoom({ name: 'new' })).sid).toBe('RM_new');
    expect((await rooms.listRooms()).map((room) => room.name)).toEqual(['studio']);
    expect((await rooms.listParticipants('studio')).map((who) => who.identity)).toEqual(['ada']);
    await expect(rooms.deleteRoom('nowhere')).rejects.toMatchObject({
      code: 'not_found',
      status: 404,
      message: 'requested room does not exist',
    });

    const ingress = new IngressClient(harness.url, API_KEY, API_SECRET);
    const created = await ingress.createIngress(IngressInput.RTMP_INPUT, {
      name: 'camera',
      roomName: 'studio',
      participantIdentity: 'obs',
    });
    expect(created).toMatchObject({ url: 'rtmp://127.0.0.1:1935/live', reusable: true, roomName: 'studio' });
    expect(created.ingressId).toMatch(/^IN_\w{12}$/);
    expect(created.streamKey.length).toBeGreaterThanOrEqual(12);
    const renamed = await ingress.updateIngress(created.ingressId, { name: 'wide shot' });
    expect(renamed).toMatchObject({ name: 'wide shot', roomName: 'studio', streamKey: created.streamKey });
    expect(await ingress.listIngress({ roomName: 'studio' })).toHaveLength(1);
    await ingress.deleteIngress(created.ingressId);
    await expect(ingress.listIngress({ ingressId: created.ingressId })).rejects.toMatchObject({
      code: 'not_found',
      message: 'ingress does not exist',
    });

    const egress = new EgressClient(harness.url, API_KEY, API_SECRET);
    const output = new EncodedFileOutput({ filepath: 'a.mp4' });
    const job = await egress.startRoomCompositeEgress('studio', { file: output }, { layout: 'grid' });
    expect(job.egressId).toMatch(/^EG_\w{12}$/);
    expect(job.roomId).toBe('RM_studio');
    expect(await egress.listEgress({ egressId: job.egressId })).toHaveLength(1);
    const missing = egress.startRoomCompositeEgress('nowhere', { file: output });
    await expect(missing).rejects.toBeInstanceOf(ServerError);
    await expect(missing).rejects.toMatchObject({
      code: 'not_found',
      message: 'requested room does not exist',
    });
  });
});
