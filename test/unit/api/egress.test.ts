import * as livekit from '@livekit/protocol';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EgressHandler, EgressInternal, IOInfo, RoomInternal } from '../../../services/bus/rpc-methods.ts';
import { serveStudioRoom, startApiHarness, type ApiHarness } from '../../support/api-harness.ts';

const { EGRESS_ACTIVE, EGRESS_COMPLETE, EGRESS_STARTING } = livekit.EgressStatus;

type Answer = { status?: string; items: { status: string }[] };

describe('egress API', () => {
  let harness: ApiHarness;
  let token: string;
  beforeAll(async () => {
    harness = await startApiHarness();
    token = await harness.token({ roomRecord: true });
    await serveStudioRoom(harness.bus);
  });
  afterAll(() => harness.close());

  const call = async (
    method: string,
    body: object,
  ): Promise<{ status: number; text: string; json: Answer }> => {
    const answer = await fetch(`${harness.url}/twirp/livekit.Egress/${method}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
      body: JSON.stringify(body),
    });
    const text = await answer.text();
    return { status: answer.status, text, json: JSON.parse(text) as Answer };
  };
  const report = (fields: object): Promise<unknown> =>
    harness.bus.request(IOInfo.updateEgress, new livekit.EgressInfo(fields));

  it('refuses work when no egress node answers', async () => {
    const answer = await call('StartRoomCompositeEgress', { room_name: 'studio' });
    expect(answer).toMatchObject({
      status: 503,
      json: { code: 'unavailable', msg: 'no response from servers' },
    });
  });

  it('never gives a credential or a stream key back, whatever shape the request has', async () => {
    const stop = await harness.bus.serve(EgressInternal.startEgress, ({ egressId, roomName, request }) => {
      const info = new livekit.EgressInfo({ egressId, roomName, updatedAt: 1n });
      if (request.case !== undefined) {
        (info as { request: unknown }).request = request;
      }
      return Promise.resolve(info);
    });
    const s3 = { access_key: 'AKIASECRET', secret: 'S3SECRET', session_token: 'STSECRET', bucket: 'b' };
    const started = await call('StartRoomCompositeEgress', {
      room_name: 'studio',
      file_outputs: [{ filepath: 'x.mp4', s3 }],
      stream_outputs: [{ urls: ['rtmp://live.example/app/STREAMSECRET'] }],
      webhooks: [{ url: 'https://example.com/?token=HOOKSECRET', signing_key: 'SIGNSECRET' }],
    });
    expect(started.status).toBe(200);
    const v2 = await call('StartEgress', {
      room_name: 'studio',
      template: { layout: 'grid' },
      outputs: [{ file: { filepath: 'x.mp4' }, storage: { s3 } }],
      storage: { azure: { account_name: 'AZSECRET', account_key: 'AZKEYSECRET' } },
    });
    expect(v2.status).toBe(200);
    const listed = await call('ListEgress', {});
    for (const text of [started.text, v2.text, listed.text]) {
      expect(text).not.toMatch(/SECRET/);
    }
    expect(started.json).toMatchObject({
      room_composite: { file_outputs: [{ s3: { secret: '{secret}', bucket: 'b' } }] },
    });
    await stop();
  });

  it('ignores late updates and never revives an ended job', async () => {
    const egressId = 'EG_order';
    await report({ egressId, status: EGRESS_ACTIVE, updatedAt: 20n });
    await report({ egressId, status: EGRESS_STARTING, updatedAt: 10n });
    expect((await call('ListEgress', { egress_id: egressId })).json.items[0]?.status).toBe('EGRESS_ACTIVE');
    await report({ egressId, status: EGRESS_COMPLETE, updatedAt: 30n });
    await report({ egressId, status: EGRESS_ACTIVE, updatedAt: 40n });
    expect((await call('ListEgress', { egress_id: egressId })).json.items[0]?.status).toBe('EGRESS_COMPLETE');
    expect((await call('ListEgress', { egress_id: egressId, active: true })).json.items).toEqual([]);
  });

  it('stops through the handler of the job, and explains why it cannot', async () => {
    await report({ egressId: 'EG_live', roomName: 'studio', status: EGRESS_ACTIVE, updatedAt: 1n });
    const stop = await harness.bus.serve(
      EgressHandler.stopEgress,
      ({ egressId }) =>
        Promise.resolve({
          egressId,
          roomName: 'studio',
          status: livekit.EgressStatus.EGRESS_ENDING,
          updatedAt: 2n,
        }),
      { topic: 'EG_live' },
    );
    expect((await call('StopEgress', { egress_id: 'EG_live' })).json.status).toBe('EGRESS_ENDING');
    await stop();
    await report({ egressId: 'EG_live', status: EGRESS_COMPLETE, updatedAt: 3n });
    expect(await call('StopEgress', { egress_id: 'EG_live' })).toMatchObject({
      status: 412,
      json: { code: 'failed_precondition', msg: 'egress with status EGRESS_COMPLETE cannot be stopped' },
    });
    expect(await call('StopEgress', { egress_id: 'EG_nope' })).toMatchObject({
      status: 404,
      json: { code: 'not_found', msg: 'egress does not exist' },
    });
  });

  it('changes the layout through the metadata of the recorder participant', async () => {
    const updates: unknown[] = [];
    const other = await startApiHarness();
    await other.bus.serve(RoomInternal.updateParticipant, ({ room, identity, metadata }) => {
      updates.push({ room, identity, metadata });
      return Promise.resolve({});
    });
    await other.egressStore.put(
      new livekit.EgressInfo({ egressId: 'EG_x', roomName: 'studio', status: EGRESS_ACTIVE }),
    );
    const answer = await fetch(`${other.url}/twirp/livekit.Egress/UpdateLayout`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        authorization: `Bearer ${await other.token({ roomRecord: true })}`,
      },
      body: JSON.stringify({ egress_id: 'EG_x', layout: 'speaker' }),
    });
    expect(answer.status).toBe(200);
    expect(updates).toEqual([{ room: 'studio', identity: 'EG_x', metadata: '{"layout":"speaker"}' }]);
    await other.close();
  });
});
