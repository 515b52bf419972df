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
      'an audio source for video',
      { ...PUBLISHER, video: { source: 'MICROPHONE' } },
      'invalid video parameters: invalid track source',
    ],
    [
      'a video source for audio',
      { ...PUBLISHER, audio: { source: 'CAMERA' } },
      'invalid audio parameters: invalid track source',
    ],
    [
      'an unknown video preset',
      { ...PUBLISHER, video: { preset: 99 } },
      'invalid video parameters: invalid preset',
    ],
    [
      'an unknown audio preset',
      { ...PUBLISHER, audio: { preset: 99 } },
      'invalid audio parameters: invalid preset',
    ],
    [
      'an unsupported video codec',
      { ...PUBLISHER, video: { options: { video_codec: 'H264_HIGH' } } },
      'invalid video parameters: video codec unsupported',
    ],
    [
      'an unsupported audio codec',
      { ...PUBLISHER, audio: { options: { audio_codec: 'AAC' } } },
      'invalid audio parameters: audio codec unsupported',
    ],
    [
      'too many channels',
      { ...PUBLISHER, audio: { options: { channels: 6 } } },
      'invalid audio parameters: invalid audio channel count',
    ],
    ['an odd width', options([layer('HIGH', 641, 360)]), 'invalid ingress: layer width must be even'],
    ['an odd height', options([layer('HIGH', 640, 361)]), 'invalid ingress: layer height must be even'],
    [
      'a layer without size',
      options([layer('HIGH', 0, 360)]),
      'invalid video parameters: invalid output media dimensions',
    ],
    [
      'two layers of one quality',
      options([layer('HIGH', 640, 360), layer('HIGH', 320, 180)]),
      'invalid video parameters: more than one layer with the same quality level',
    ],
    [
      'a low layer above the high one',
      options([layer('LOW', 1280, 720), layer('HIGH', 640, 360)]),
      'invalid video parameters: video layers do not have increasing height/width with increasing quality',
    ],
    [
      'video options without transcoding',
      { ...PUBLISHER, enable_transcoding: false, video: { preset: 'H264_720P_30FPS_1_LAYER' } },
      'invalid transcoding bypass configuration: video encoding options must be empty if transcoding is disabled',
    ],
    [
      'audio options without transcoding',
      { ...PUBLISHER, enable_transcoding: false, audio: { preset: 'OPUS_MONO_64KBS' } },
      'invalid transcoding bypass configuration: audio encoding options must be empty if transcoding is disabled',
    ],
  ])('refuses %s in LiveKit’s words', async (_name, body, message) => {
    expect(await call('CreateIngress', body)).toEqual({
      status: 400,
      json: { code: 'invalid_argument', msg: message },
    });
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
