import type { WebhookEvent } from 'livekit-server-sdk';
import { afterEach, expect, test } from 'vitest';
import type { WebhookDispatcher } from '../../../services/api/webhooks/webhook-dispatcher.ts';
import { ServiceError } from '../../../services/base/errors.ts';
import { IngressHandler } from '../../../services/bus/rpc-methods.ts';
import {
  ENDPOINT_ERROR,
  ENDPOINT_INACTIVE,
  ENDPOINT_PUBLISHING,
  startIngressHarness,
  STREAM_KEY,
  type IngressHarness,
  type IngressHarnessOptions,
} from '../../support/ingress-harness.ts';
import { RtmpClient } from '../../support/rtmp-client.ts';
import { sendFrames } from '../../support/rtmp-frames.ts';
import { startWebhookSink, type WebhookSink } from '../../support/webhook-receiver.ts';
import { webhooksTo } from '../../support/webhooks.ts';

const SECRET = 'a-secret-that-is-long-enough-for-hs256';
let close: () => Promise<void> = () => Promise.resolve();

afterEach(() => close());

async function start(
  options: IngressHarnessOptions = {},
): Promise<{ harness: IngressHarness; sink: WebhookSink }> {
  const sink = await startWebhookSink('key', SECRET);
  const webhooks: WebhookDispatcher = webhooksTo(sink.url, 'key', SECRET);
  const harness = await startIngressHarness({ webhooks, limits: { refusalDelayMs: 0 }, ...options });
  close = async () => {
    await harness.close();
    await webhooks.close(1_000);
    await sink.close();
  };
  return { harness, sink };
}

function told({ received }: WebhookSink): unknown[] {
  return received.map(({ event: { event, ingressInfo } }) => [event, ingressInfo?.state?.status]);
}

const isEnd = ({ event }: WebhookEvent): boolean => event === 'ingress_ended';
type End = (harness: IngressHarness, client: RtmpClient) => unknown;

test.each<[string, End, number, string]>([
  ['says goodbye', (_, client) => client.command('deleteStream', null, 1), ENDPOINT_INACTIVE, ''],
  ['is cut off', (_, client) => client.close(), ENDPOINT_INACTIVE, ''],
  [
    'sends what cannot be read',
    (_, client) => client.video(99, Buffer.from([0x17, 1, 0, 0, 0, 0, 0, 9, 9, 1])),
    ENDPOINT_ERROR,
    'longer than',
  ],
  [
    'loses its endpoint',
    ({ bus }) => bus.request(IngressHandler.deleteIngress, { ingressId: 'IN_test' }, { topic: 'IN_test' }),
    ENDPOINT_INACTIVE,
    '',
  ],
  [
    'loses its room',
    ({ room }) => room.events.emit('disconnected', { reason: 'ROOM_DELETED' }),
    ENDPOINT_ERROR,
    'room disconnected',
  ],
  ['loses its service', ({ ingress }) => ingress.close('shutting down'), ENDPOINT_INACTIVE, ''],
])(
  'an encoder that %s: started once, ended once, with the room’s name alone',
  async (_name, end, status, error) => {
    const { harness, sink } = await start();
    const client = new RtmpClient(harness.ingress.rtmpPort).publish(STREAM_KEY);
    sendFrames(client, 0);
    await sink.event(({ event }) => event === 'ingress_started');
    await end(harness, client);
    const { room, ingressInfo, id, createdAt } = await sink.event(isEnd);
    expect(told(sink)).toEqual([
      ['ingress_started', ENDPOINT_PUBLISHING],
      ['ingress_ended', status],
    ]);
    expect([room?.name, room?.sid]).toEqual(['studio', '']);
    expect([ingressInfo?.ingressId, ingressInfo?.state?.resourceId.slice(0, 3)]).toEqual(['IN_test', 'RT_']);
    expect(ingressInfo?.state?.error).toContain(error);
    expect(ingressInfo?.state?.endedAt).toBeGreaterThan(ingressInfo?.state?.startedAt ?? 0n);
    expect([id, Number(createdAt)]).toEqual([
      expect.stringMatching(/^EV_/),
      expect.closeTo(Date.now() / 1000, -2),
    ]);
    client.close();
  },
);

test('a session that never publishes has an end, and so has one that could not start', async () => {
  const { harness, sink } = await start();
  harness.room.joinError = new ServiceError('unavailable', 'no SFU');
  const client = new RtmpClient(harness.ingress.rtmpPort).publish(STREAM_KEY);
  await sink.event(isEnd);
  await client.closed;
  const { ingressInfo } = await sink.event(isEnd);
  expect(ingressInfo?.state?.error).toBe('no SFU');
  expect(told(sink)).toEqual([['ingress_ended', ENDPOINT_ERROR]]);
  await close();

  const second = await start({ info: { roomName: '' } });
  const refused = new RtmpClient(second.harness.ingress.rtmpPort).publish(STREAM_KEY);
  await second.sink.event(isEnd);
  await refused.closed;
  expect(told(second.sink)).toEqual([['ingress_ended', ENDPOINT_ERROR]]);
});
