import { IngressState, IngressState_Status } from '@livekit/protocol';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { IngressHandler, IngressInternal, IOInfo } from '../../../services/bus/rpc-methods.ts';
import { startApiHarness, type ApiHarness } from '../../support/api-harness.ts';

const PUBLISHER = { participant_identity: 'obs', room_name: 'studio' };

describe('ingress API', () => {
  let harness: ApiHarness;
  let token: string;
  beforeAll(async () => {
    harness = await startApiHarness();
    token = await harness.token({ ingressAdmin: true });
  });
  afterAll(() => harness.close());

  const call = async (
    method: string,
    body: object,
  ): Promise<{ status: number; json: Record<string, unknown> }> => {
    const answer = await fetch(`${harness.url}/twirp/livekit.Ingress/${method}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
      body: JSON.stringify(body),
    });
    return { status: answer.status, json: (await answer.json()) as Record<string, unknown> };
  };
  const layer = (quality: string, width: number, height: number): object => ({
    quality,
    width,
    height,
    bitrate: 1,
  });
  const options = (layers: object[]): object => ({ ...PUBLISHER, video: { options: { layers } } });

  it.each([
    ['no identity', {}, 'invalid ingress: no participant identity'],
    [
      'an unknown video preset',
      { ...PUBLISHER, video: { preset: 99 } },
      'invalid video parameters: invalid preset',
    ],
    ['an odd width', options([layer('HIGH', 641, 360)]), 'invalid ingress: layer width must be even'],
    [
      'a low layer above the high one',
      options([layer('LOW', 1280, 720), layer('HIGH', 640, 360)]),
      'invalid video parameters: video layers do not have increasing height with increasing quality',
    ],
    [
      'video options without transcoding',
      { ...PUBLISHER, enable_transcoding: false, video: { preset: 'H264_720P_30FPS_1_LAYER' } },
      'invalid transcoding bypass configuration: video encoding options must be empty if transcoding is disabled',
    ],
  ])(
    'refuses %s in LiveKit’s words (all of them: ingress-validation.test.ts)',
    async (_name, body, message) => {
      expect(await call('CreateIngress', body)).toEqual({
        status: 400,
        json: { code: 'invalid_argument', msg: message },
      });
    },
  );

  it('ignores bypass_transcoding, and writes it as the opposite of enable_transcoding', async () => {
    const { json } = await call('CreateIngress', { ...PUBLISHER, bypass_transcoding: true });
    expect(json).toMatchObject({ enable_transcoding: true, bypass_transcoding: false });
    const change = { ingress_id: json['ingress_id'], bypass_transcoding: true, name: 'x' };
    expect((await call('UpdateIngress', change)).json).toMatchObject({
      enable_transcoding: true,
      bypass_transcoding: false,
    });
  });

  it('changes what is told and nothing else: texts cannot be cleared, options are replaced whole', async () => {
    const named = {
      ...PUBLISHER,
      name: 'desk',
      participant_name: 'OBS',
      participant_metadata: '{"a":1}',
      video: { name: 'screen', source: 'SCREEN_SHARE', preset: 'H264_540P_25FPS_2_LAYERS' },
      audio: { name: 'mic', source: 'MICROPHONE', preset: 'OPUS_MONO_64KBS' },
    };
    const created = (await call('CreateIngress', named)).json;
    const ingress_id = created['ingress_id'];
    const emptied = { name: '', room_name: '', participant_identity: '', participant_name: '' };
    const untouched = await call('UpdateIngress', { ingress_id, ...emptied, participant_metadata: '' });
    expect(untouched.json).toEqual(created);
    const replaced = await call('UpdateIngress', { ingress_id, video: { name: 'other' } });
    expect(replaced.json['video']).toEqual({ name: 'other', source: 'UNKNOWN' });
    expect(replaced.json['audio']).toEqual(created['audio']);
    expect(replaced.json['stream_key']).toBe(created['stream_key']);
  });

  it('lists by id, by room, or all; an unknown id is an error, an unknown room is empty', async () => {
    const ids = async (filter: object): Promise<unknown> => {
      const { items } = (await call('ListIngress', filter)).json as { items?: { ingress_id: string }[] };
      return items?.map((item) => item.ingress_id);
    };
    const here = String(
      (await call('CreateIngress', { ...PUBLISHER, room_name: 'here' })).json['ingress_id'],
    );
    const there = String(
      (await call('CreateIngress', { ...PUBLISHER, room_name: 'there' })).json['ingress_id'],
    );
    expect(await ids({ ingress_id: here })).toEqual([here]);
    expect(await ids({ ingress_id: here, room_name: 'there' })).toEqual([here]);
    expect(await ids({ room_name: 'there' })).toEqual([there]);
    expect(await ids({ room_name: 'nowhere' })).toEqual([]);
    expect(await ids({})).toEqual(expect.arrayContaining([here, there]));
    expect(await call('ListIngress', { ingress_id: 'IN_none' })).toEqual({
      status: 404,
      json: { code: 'not_found', msg: 'ingress does not exist' },
    });
  });

  it('changes and deletes an endpoint whose session does not answer any more', async () => {
    const { json } = await call('CreateIngress', PUBLISHER);
    const ingressId = String(json['ingress_id']);
    const state = new IngressState({ status: IngressState_Status.ENDPOINT_PUBLISHING, startedAt: 1n });
    await harness.ingressStore.updateState(ingressId, state);
    const changed = await call('UpdateIngress', { ingress_id: ingressId, name: 'renamed' });
    expect(changed).toMatchObject({ status: 200, json: { name: 'renamed' } });
    const deleted = await call('DeleteIngress', { ingress_id: ingressId });
    expect(deleted).toMatchObject({
      status: 200,
      json: { ingress_id: ingressId, name: 'renamed', state: { status: 'ENDPOINT_INACTIVE' } },
    });
    expect((await call('ListIngress', { ingress_id: ingressId })).status).toBe(404);
  });

  it('makes RTMP endpoints that only pass through', async () => {
    const { status, json } = await call('CreateIngress', { ...PUBLISHER, enable_transcoding: false });
    expect(status).toBe(200);
    expect(json).toMatchObject({ enable_transcoding: false, bypass_transcoding: true });
    const again = await call('UpdateIngress', { ingress_id: json['ingress_id'], enable_transcoding: true });
    expect(again.json).toMatchObject({ enable_transcoding: true, bypass_transcoding: false });
  });

  it('makes WHIP endpoints, which are not transcoded by default', async () => {
    const { status, json } = await call('CreateIngress', { ...PUBLISHER, input_type: 'WHIP_INPUT' });
    expect(status).toBe(200);
    expect(json).toMatchObject({
      input_type: 'WHIP_INPUT',
      url: 'http://127.0.0.1:8080/w',
      enable_transcoding: false,
      bypass_transcoding: true,
      reusable: true,
      state: { status: 'ENDPOINT_INACTIVE' },
    });
    expect(json['stream_key']).toMatch(/^\w{16}$/);
  });

  it('transcodes WHIP when asked to, and takes encoding options only then', async () => {
    const whip = { ...PUBLISHER, input_type: 'WHIP_INPUT' };
    const video = { preset: 'H264_720P_30FPS_1_LAYER' };
    expect(await call('CreateIngress', { ...whip, video, enable_transcoding: true })).toMatchObject({
      status: 200,
      json: { enable_transcoding: true, bypass_transcoding: false, video },
    });
    expect(await call('CreateIngress', { ...whip, video: { preset: 'H264_720P_30FPS_1_LAYER' } })).toEqual({
      status: 400,
      json: {
        code: 'invalid_argument',
        msg: 'invalid transcoding bypass configuration: video encoding options must be empty if transcoding is disabled',
      },
    });
  });

  describe('for URLs', () => {
    const url = { ...PUBLISHER, input_type: 'URL_INPUT', url: 'http://media.example/a.mp4' };

    it.each([
      ['no address', { url: '' }, 400, 'invalid ingress: no source URL'],
      ['an unknown scheme', { url: 'ftp://media.example/a' }, 400, 'invalid ingress: invalid url scheme ftp'],
      ['no room', { room_name: '' }, 400, 'invalid ingress: no room name'],
      ['a disabled endpoint', { enabled: false }, 400, 'invalid ingress: disabled non reusable ingress'],
    ])('refuses %s', async (_name, change, status, msg) => {
      const answer = await call('CreateIngress', { ...url, ...change });
      expect(answer).toMatchObject({ status, json: { msg } });
    });

    it('says that no node takes it, and forgets it', async () => {
      const answer = await call('CreateIngress', url);
      expect(answer).toMatchObject({ status: 503, json: { code: 'unavailable' } });
      const { items } = (await call('ListIngress', {})).json as { items: { url: string }[] };
      expect(items.filter((item) => item.url === url.url)).toEqual([]);
    });

    it('hands it to a node, once and for all', async () => {
      const unserve = await harness.bus.serve(IngressInternal.startIngress, async ({ info }) => {
        const state = new IngressState({ status: IngressState_Status.ENDPOINT_BUFFERING, startedAt: 1n });
        await harness.bus.request(IOInfo.updateIngressState, { ingressId: info?.ingressId ?? '', state });
        return info ?? {};
      });
      const created = await call('CreateIngress', url);
      expect(created.json).toMatchObject({
        input_type: 'URL_INPUT',
        url: url.url,
        stream_key: '',
        reusable: false,
        state: { status: 'ENDPOINT_BUFFERING' },
      });
      const changed = await call('UpdateIngress', { ingress_id: created.json['ingress_id'], name: 'x' });
      expect(changed.json).toEqual({
        code: 'invalid_argument',
        msg: 'ingress is not reusable and cannot be modified',
      });
      await unserve();
    });
  });

  it('accepts an endpoint without a room, and completes it later', async () => {
    const created = await call('CreateIngress', { participant_identity: 'obs' });
    expect(created.json).toMatchObject({
      room_name: '',
      enabled: true,
      reusable: true,
      state: { status: 'ENDPOINT_INACTIVE' },
    });
    const id = created.json['ingress_id'];
    const updated = await call('UpdateIngress', { ingress_id: id, room_name: 'later', enabled: false });
    expect(updated.json).toMatchObject({ room_name: 'later', participant_identity: 'obs', enabled: false });
  });

  it('tells a running session about updates and removal, and resets an endpoint in error', async () => {
    const { json } = await call('CreateIngress', PUBLISHER);
    const ingressId = String(json['ingress_id']);
    const report = (status: IngressState_Status, updatedAt: bigint): Promise<unknown> =>
      harness.bus.request(IOInfo.updateIngressState, {
        ingressId,
        state: new IngressState({ status, startedAt: 1n, updatedAt }),
      });
    const asked: string[] = [];
    const stop = await harness.bus.serve(
      IngressHandler.updateIngress,
      async (request) => {
        asked.push(`update ${request.name}`);
        await report(IngressState_Status.ENDPOINT_INACTIVE, 3n);
        return {};
      },
      { topic: ingressId },
    );
    await harness.bus.serve(
      IngressHandler.deleteIngress,
      () => {
        asked.push('delete');
        return Promise.resolve({});
      },
      { topic: ingressId },
    );
    await report(IngressState_Status.ENDPOINT_PUBLISHING, 2n);
    const updated = await call('UpdateIngress', { ingress_id: ingressId, name: 'renamed' });
    expect(updated.json).toMatchObject({ name: 'renamed', state: { status: 'ENDPOINT_INACTIVE' } });
    await stop();

    await report(IngressState_Status.ENDPOINT_ERROR, 4n);
    const reset = await call('UpdateIngress', { ingress_id: ingressId, name: 'again' });
    expect(reset.json).toMatchObject({ state: { status: 'ENDPOINT_INACTIVE', error: '' } });

    await harness.ingressStore.updateState(
      ingressId,
      new IngressState({ status: IngressState_Status.ENDPOINT_BUFFERING, startedAt: 9n, updatedAt: 9n }),
    );
    const removed = await call('DeleteIngress', { ingress_id: ingressId });
    expect(removed.json).toMatchObject({ state: { status: 'ENDPOINT_INACTIVE' } });
    expect(asked).toEqual(['update renamed', 'delete']);
    expect((await call('DeleteIngress', { ingress_id: ingressId })).status).toBe(404);
  });
});
