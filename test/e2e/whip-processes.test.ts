import { IngressState_Status } from '@livekit/protocol';
import { IngressClient, IngressInput, RoomServiceClient, type IngressState } from 'livekit-server-sdk';
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { BASELINE_720P, fixtureFile } from '../../fixtures/generate.ts';
import { freshName } from '../support/fresh-name.ts';
import { ObsLikeEncoder } from '../support/obs-like-encoder.ts';
import { until } from '../support/published-room.ts';
import { pushFile } from '../support/rtmp-push.ts';
import { startRedis, type RedisServer } from '../support/redis-server.ts';
import { API_KEY, API_SECRET } from '../support/sluice-process.ts';
import { startWebhookSink, type WebhookSink } from '../support/webhook-receiver.ts';
import { startRole, type RoleProcess } from '../support/worker-process.ts';

const WHIP_BASE_URL = 'http://ingest.example/w';

let redis: RedisServer;
let sink: WebhookSink;
let server: RoleProcess;
let ingress: RoleProcess;
let startWorker: () => Promise<RoleProcess>;

beforeAll(async () => {
  redis = await startRedis();
  sink = await startWebhookSink(API_KEY, API_SECRET);
  const shared = { redis: { address: redis.address } };
  server = await startRole('server', {
    ...shared,
    webhook: { urls: [sink.url], api_key: API_KEY },
    ingress: { whip_base_url: WHIP_BASE_URL },
  });
  const wsUrl = server.healthUrl.replace('http', 'ws');
  startWorker = () =>
    startRole('ingress', { ...shared, ws_url: wsUrl, ingress: { rtmp_port: 0, whip_port: 0 } });
  ingress = await startWorker();
}, 240_000);
afterAll(async () => {
  await ingress.cleanUp();
  await server.cleanUp();
  await sink.close();
  await redis.close();
});

test('signalling passes through an ingress in another process, media goes to the server by itself', async () => {
  const client = new IngressClient(server.healthUrl, API_KEY, API_SECRET);
  const rooms = new RoomServiceClient(server.healthUrl, API_KEY, API_SECRET);
  const roomName = freshName('studio');
  const { ingressId, streamKey, url } = await client.createIngress(IngressInput.WHIP_INPUT, {
    name: 'camera',
    roomName,
    participantIdentity: 'obs',
  });
  expect(url).toBe(WHIP_BASE_URL);
  const { ports } = await ingress.status();
  const encoder = await ObsLikeEncoder.start({
    url: `http://127.0.0.1:${ports['whip'] ?? 0}/w`,
    bearer: streamKey,
    layers: [{ width: 320, height: 180, bitrateKbps: 300 }],
  });
  onTestFinished(() => {
    encoder.drop();
  });
  const reach = (status: string): Promise<IngressState> => reachState(client, ingressId, status);
  const state = await reach('ENDPOINT_PUBLISHING');
  expect(state.video).toMatchObject({ mimeType: 'video/H264' });
  await sink.event(
    ({ event, ingressInfo }) => event === 'ingress_started' && ingressInfo?.ingressId === ingressId,
  );
  const [obs] = await rooms.listParticipants(roomName);
  expect(obs?.tracks).toHaveLength(2);
  expect(await encoder.stop()).toBe(200);
  const final = await reach('ENDPOINT_INACTIVE');
  expect(final.error).toBe('');
  await sink.event(
    ({ event, ingressInfo }) => event === 'ingress_ended' && ingressInfo?.ingressId === ingressId,
  );
  await until(20_000, 'an empty room', () => isEmpty(rooms, roomName));
}, 240_000);

test('a killed ingress: its sessions are in ERROR and out of their rooms, and go on at the next one', async () => {
  const client = new IngressClient(server.healthUrl, API_KEY, API_SECRET);
  const rooms = new RoomServiceClient(server.healthUrl, API_KEY, API_SECRET);
  const roomName = `killed-${randomUUID()}`;
  const lost = await startWorker();
  onTestFinished(() => lost.cleanUp());
  const [whip, rtmp] = await Promise.all([
    client.createIngress(IngressInput.WHIP_INPUT, { name: 'whip', roomName, participantIdentity: 'whip' }),
    client.createIngress(IngressInput.RTMP_INPUT, { name: 'rtmp', roomName, participantIdentity: 'rtmp' }),
  ]);
  const publish = async (worker: RoleProcess): Promise<ObsLikeEncoder> => {
    const { ports } = await worker.status();
    const film = await fixtureFile(BASELINE_720P);
    const push = pushFile(film, `rtmp://127.0.0.1:${ports['rtmp'] ?? 0}/live/${rtmp.streamKey}`, {
      loop: true,
    });
    onTestFinished(async () => {
      await push.stop();
    });
    const encoder = await ObsLikeEncoder.start({
      url: `http://127.0.0.1:${ports['whip'] ?? 0}/w`,
      bearer: whip.streamKey,
      layers: [{ width: 320, height: 180, bitrateKbps: 300 }],
    });
    onTestFinished(() => {
      encoder.drop();
    });
    return encoder;
  };
  const reachBoth = (status: string): Promise<IngressState[]> =>
    Promise.all([whip, rtmp].map(({ ingressId }) => reachState(client, ingressId, status)));
  const encoder = await publish(lost);
  await reachBoth('ENDPOINT_PUBLISHING');

  const killedAtMs = Date.now();
  lost.signal('SIGKILL');
  const failed = await reachBoth('ENDPOINT_ERROR');
  for (const { error, endedAt } of failed) {
    expect(error).toMatch(/^ingress node lost: no sign of life for \d+ s$/);
    console.info(`a lost ingress was noticed after ${(Number(endedAt) / 1e6 - killedAtMs).toFixed(0)} ms`);
  }
  // The WHIP encoder's media never passed through the lost process: it has to be told.
  await encoder.ended;
  await until(20_000, 'an empty room', () => isEmpty(rooms, roomName));

  await publish(ingress);
  const back = await reachBoth('ENDPOINT_PUBLISHING');
  expect(back.map(({ error }) => error)).toEqual(['', '']);
  const participants = await rooms.listParticipants(roomName);
  expect(participants.map(({ identity, tracks }) => [identity, tracks.length]).sort()).toEqual([
    ['rtmp', 2],
    ['whip', 2],
  ]);
  for (const [index, { ingressId }] of [whip, rtmp].entries()) {
    const events = (): unknown[] =>
      sink.received
        .filter(({ event }) => event.ingressInfo?.ingressId === ingressId)
        .map(({ event: { event, ingressInfo } }) => [event, ingressInfo?.state?.resourceId]);
    await expect.poll(events, { timeout: 20_000 }).toEqual([
      ['ingress_started', failed[index]?.resourceId],
      ['ingress_ended', failed[index]?.resourceId],
      ['ingress_started', back[index]?.resourceId],
    ]);
  }
}, 240_000);

function reachState(client: IngressClient, ingressId: string, status: string): Promise<IngressState> {
  return until(30_000, status, async () => {
    const state = (await client.listIngress({ ingressId }))[0]?.state;
    return IngressState_Status[state?.status ?? -1] === status ? state : undefined;
  });
}

/** A room that is gone is empty. */
function isEmpty(rooms: RoomServiceClient, name: string): Promise<true | undefined> {
  return rooms.listParticipants(name).then(
    (participants) => (participants.length === 0 ? true : undefined),
    () => true as const,
  );
}
