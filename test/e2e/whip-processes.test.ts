import { IngressState_Status } from '@livekit/protocol';
import { IngressClient, IngressInput, RoomServiceClient, type IngressState } from 'livekit-server-sdk';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ObsLikeEncoder } from '../support/obs-like-encoder.ts';
import { until } from '../support/published-room.ts';
import { startRedis, type RedisServer } from '../support/redis-server.ts';
import { API_KEY, API_SECRET } from '../support/sluice-process.ts';
import { startWebhookSink, type WebhookSink } from '../support/webhook-receiver.ts';
import { startRole, type RoleProcess } from '../support/worker-process.ts';

const WHIP_BASE_URL = 'http://ingest.example/w';

let redis: RedisServer;
let sink: WebhookSink;
let server: RoleProcess;
let ingress: RoleProcess;

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
  ingress = await startRole('ingress', {
    ...shared,
    ws_url: wsUrl,
    ingress: { rtmp_port: 0, whip_port: 0 },
  });
}, 120_000);
afterAll(async () => {
  await ingress.cleanUp();
  await server.cleanUp();
  await sink.close();
  await redis.close();
});

test('signalling passes through an ingress in another process, media goes to the server by itself', async () => {
  const client = new IngressClient(server.healthUrl, API_KEY, API_SECRET);
  const rooms = new RoomServiceClient(server.healthUrl, API_KEY, API_SECRET);
  const { ingressId, streamKey, url } = await client.createIngress(IngressInput.WHIP_INPUT, {
    name: 'camera',
    roomName: 'studio',
    participantIdentity: 'obs',
  });
  expect(url).toBe(WHIP_BASE_URL);
  const { ports } = await ingress.status();
  const encoder = await ObsLikeEncoder.start({
    url: `http://127.0.0.1:${ports['whip'] ?? 0}/w`,
    bearer: streamKey,
    layers: [{ width: 320, height: 180, bitrateKbps: 300 }],
  });
  const reach = (status: string): Promise<IngressState> =>
    until(20_000, status, async () => {
      const state = (await client.listIngress({ ingressId }))[0]?.state;
      return IngressState_Status[state?.status ?? -1] === status ? state : undefined;
    });
  const state = await reach('ENDPOINT_PUBLISHING');
  expect(state.video).toMatchObject({ mimeType: 'video/H264' });
  await sink.event(({ event }) => event === 'ingress_started');
  const [obs] = await rooms.listParticipants('studio');
  expect(obs?.tracks).toHaveLength(2);
  expect(await encoder.stop()).toBe(200);
  const final = await reach('ENDPOINT_INACTIVE');
  expect(final.error).toBe('');
  await sink.event(({ event }) => event === 'ingress_ended');
  const left = (): Promise<true | undefined> =>
    rooms.listParticipants('studio').then(
      (participants) => (participants.length === 0 ? true : undefined),
      () => true as const,
    );
  await until(10_000, 'an empty room', left);
}, 60_000);
