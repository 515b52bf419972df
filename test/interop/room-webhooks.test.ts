import { afterAll, afterEach, beforeEach, expect, it } from 'vitest';
import { WebhookDispatcher } from '../../services/api/webhooks/webhook-dispatcher.ts';
import { createLogger } from '../../services/base/logger.ts';
import { RoomInternal } from '../../services/bus/rpc-methods.ts';
import { RtcNodePeer } from '../support/rtc-node-peer.ts';
import { API_KEY, API_SECRET, startSfuServer, type SfuServer } from '../support/sfu-server.ts';
import { startWebhookSink, type WebhookSink } from '../support/webhook-receiver.ts';

let sink: WebhookSink;
let webhooks: WebhookDispatcher;
let server: SfuServer;

beforeEach(async () => {
  sink = await startWebhookSink(API_KEY, API_SECRET);
  webhooks = new WebhookDispatcher({
    urls: [sink.url],
    apiKey: API_KEY,
    keys: new Map([[API_KEY, API_SECRET]]),
    logger: createLogger({ level: 'silent' }),
  });
  server = await startSfuServer({
    sfu: {
      onRoomEvent: (event) => {
        webhooks.notify(event);
      },
    },
  });
});

afterEach(async () => {
  await server.close();
  await webhooks.close(0);
  await sink.close();
});

afterAll(() => RtcNodePeer.dispose());

it('tells of a room from its start to its end, in order', async () => {
  const ada = await RtcNodePeer.connect(server.wsUrl, await server.joinToken('ada', 'studio'));
  const trackSid = await ada.publishTone();
  await sink.event(({ event }) => event === 'track_published');
  const bob = await RtcNodePeer.connect(server.wsUrl, await server.joinToken('bob', 'studio'));
  await sink.event(
    ({ event, participant }) => event === 'participant_joined' && participant?.identity === 'bob',
  );
  await ada.close();
  await sink.event(({ event }) => event === 'participant_left');
  await server.bus.request(RoomInternal.deleteRoom, { room: 'studio' });
  await sink.event(({ event }) => event === 'room_finished');
  await bob.close();

  const story = sink.received.map(({ event }) => [event.event, event.participant?.identity ?? '']);
  expect(story).toEqual([
    ['room_started', ''],
    ['participant_joined', 'ada'],
    ['track_published', 'ada'],
    ['participant_joined', 'bob'],
    ['track_unpublished', 'ada'],
    ['participant_left', 'ada'],
    ['participant_left', 'bob'],
    ['room_finished', ''],
  ]);
  const events = sink.received.map(({ event }) => event);
  expect(new Set(events.map(({ room }) => room?.sid)).size).toBe(1);
  expect(events.every(({ room }) => room?.name === 'studio')).toBe(true);
  expect(events.find(({ event }) => event === 'track_published')?.track?.sid).toBe(trackSid);
  expect(new Set(events.map(({ id }) => id)).size).toBe(events.length);
});
