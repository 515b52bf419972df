import { CreateRoomRequest, ListIngressResponse, Room } from '@livekit/protocol';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ServiceError } from '../../../services/base/errors.ts';
import { RoomInternal } from '../../../services/bus/rpc-methods.ts';
import { serveStudioRoom, startApiHarness, type ApiHarness } from '../../support/api-harness.ts';

const JSON_TYPE = 'application/json';
const PROTOBUF_TYPE = 'application/protobuf';

describe('Twirp', () => {
  let harness: ApiHarness;
  let authorization: string;
  beforeAll(async () => {
    harness = await startApiHarness();
    await serveStudioRoom(harness.bus);
    const video = { roomCreate: true, roomList: true, roomRecord: true, ingressAdmin: true };
    authorization = `Bearer ${await harness.token(video)}`;
  });
  afterAll(() => harness.close());

  const post = (path: string, type: string, body: string | Uint8Array): Promise<Response> =>
    fetch(`${harness.url}${path}`, {
      method: 'POST',
      headers: { 'content-type': type, authorization },
      body,
    });
  const CREATE = '/twirp/livekit.RoomService/CreateRoom';

  it('answers JSON in snake_case with every default written out', async () => {
    const answer = await post(CREATE, JSON_TYPE, '{"name":"r"}');
    expect(answer.headers.get('content-type')).toBe(JSON_TYPE);
    expect(await answer.json()).toMatchObject({
      sid: 'RM_new',
      name: 'r',
      empty_timeout: 0,
      num_participants: 0,
      creation_time: '0',
      enabled_codecs: [],
    });
  });

  it('reads snake_case and camelCase, and drops fields it does not know', async () => {
    const seen: number[] = [];
    const other = await startApiHarness();
    await other.bus.serve(RoomInternal.createRoom, (request) => {
      seen.push(request.emptyTimeout);
      return Promise.resolve({});
    });
    const headers = {
      'content-type': JSON_TYPE,
      authorization: `Bearer ${await other.token({ roomCreate: true })}`,
    };
    for (const body of [
      '{"name":"a","empty_timeout":7}',
      '{"name":"a","emptyTimeout":8}',
      '{"name":"a","fancy":{"x":1}}',
    ]) {
      expect((await fetch(other.url + CREATE, { method: 'POST', headers, body })).status).toBe(200);
    }
    expect(seen).toEqual([7, 8, 0]);
    await other.close();
  });

  it('speaks protobuf both ways', async () => {
    const answer = await post(CREATE, PROTOBUF_TYPE, new CreateRoomRequest({ name: 'p' }).toBinary());
    expect(answer.headers.get('content-type')).toBe(PROTOBUF_TYPE);
    expect(Room.fromBinary(new Uint8Array(await answer.arrayBuffer())).name).toBe('p');
    const empty = await post('/twirp/livekit.Ingress/ListIngress', PROTOBUF_TYPE, new Uint8Array());
    expect(ListIngressResponse.fromBinary(new Uint8Array(await empty.arrayBuffer())).items).toEqual([]);
  });

  it.each([
    ['broken JSON', CREATE, JSON_TYPE, '{"name":', 400, 'malformed'],
    ['JSON of the wrong shape', CREATE, JSON_TYPE, '{"name":{"a":1}}', 400, 'malformed'],
    ['a JSON array', CREATE, JSON_TYPE, '[1,2]', 400, 'malformed'],
    ['invalid UTF-8', CREATE, JSON_TYPE, Uint8Array.from([0x7b, 0xff, 0xfe]), 400, 'malformed'],
    ['broken protobuf', CREATE, PROTOBUF_TYPE, Uint8Array.from([0x0a, 0xff, 0xff, 0xff]), 400, 'malformed'],
    ['another content type', CREATE, 'text/plain', '{}', 404, 'bad_route'],
    ['an unknown method', '/twirp/livekit.RoomService/Nope', JSON_TYPE, '{}', 404, 'bad_route'],
    ['an unknown service', '/twirp/livekit.Nope/CreateRoom', JSON_TYPE, '{}', 404, 'bad_route'],
    [
      'a known method of a later version',
      '/twirp/livekit.RoomService/MoveParticipant',
      JSON_TYPE,
      '{}',
      501,
      'unimplemented',
    ],
    [
      'a body over the limit',
      CREATE,
      JSON_TYPE,
      `{"name":"${'x'.repeat(1_100_000)}"}`,
      429,
      'resource_exhausted',
    ],
    ['an empty room name', CREATE, JSON_TYPE, '{}', 400, 'invalid_argument'],
    ['an endless room name', CREATE, JSON_TYPE, `{"name":"${'x'.repeat(300)}"}`, 400, 'invalid_argument'],
    [
      'huge metadata',
      CREATE,
      JSON_TYPE,
      `{"name":"r","metadata":"${'x'.repeat(65_000)}"}`,
      400,
      'invalid_argument',
    ],
  ])('refuses %s', async (_name, path, type, body, status, code) => {
    const answer = await post(path, type, body);
    expect(answer.status).toBe(status);
    const error = (await answer.json()) as { code: string; msg: string };
    expect(error.code).toBe(code);
    expect(error.msg.length).toBeGreaterThan(5);
    // The server is none the worse for it.
    expect((await post(CREATE, JSON_TYPE, '{"name":"next"}')).status).toBe(200);
  });

  it('refuses GET on a method, and tolerates doubled slashes', async () => {
    const get = await fetch(harness.url + CREATE);
    expect([get.status, ((await get.json()) as { code: string }).code]).toEqual([404, 'bad_route']);
    expect((await post('/twirp//livekit.RoomService/CreateRoom', JSON_TYPE, '{"name":"r"}')).status).toBe(
      200,
    );
  });

  it('says so when no node serves the call', async () => {
    const lonely = await startApiHarness();
    const answer = await fetch(`${lonely.url}/twirp/livekit.RoomService/ListRooms`, {
      method: 'POST',
      headers: {
        'content-type': JSON_TYPE,
        authorization: `Bearer ${await lonely.token({ roomList: true })}`,
      },
      body: '{}',
    });
    expect(answer.status).toBe(503);
    expect(await answer.json()).toEqual({ code: 'unavailable', msg: 'no response from servers' });
    await lonely.close();
  });

  it('keeps the code of a worker error, hides an unexpected one, and cuts secrets out of both', async () => {
    const other = await startApiHarness();
    const errors: unknown[] = [
      new ServiceError('failed_precondition', 'push to rtmp://host/live/verysecretkey failed'),
      new Error('stack detail nobody should see'),
    ];
    await other.bus.serve(RoomInternal.listRooms, () => Promise.reject(errors.shift() as Error));
    const ask = async (): Promise<unknown> =>
      (
        await fetch(`${other.url}/twirp/livekit.RoomService/ListRooms`, {
          method: 'POST',
          headers: {
            'content-type': JSON_TYPE,
            authorization: `Bearer ${await other.token({ roomList: true })}`,
          },
          body: '{}',
        })
      ).json();
    expect(await ask()).toEqual({
      code: 'failed_precondition',
      msg: 'push to rtmp://host/live/{ver...key} failed',
    });
    expect(await ask()).toEqual({ code: 'internal', msg: 'internal error' });
    await other.close();
  });

  it('lets web pages call the API, and nothing else, across origins', async () => {
    const preflight = await fetch(harness.url + CREATE, { method: 'OPTIONS' });
    expect(preflight.status).toBe(204);
    expect(preflight.headers.get('access-control-allow-headers')).toContain('Authorization');
    const session = await fetch(`${harness.url}/home/session`, { method: 'POST' });
    expect(session.headers.get('access-control-allow-origin')).toBeNull();
  });
});
