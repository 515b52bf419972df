import * as livekit from '@livekit/protocol';
import { afterEach, expect, it } from 'vitest';
import { WebhookDispatcher } from '../../../services/api/webhooks/webhook-dispatcher.ts';
import { egressEvent, ingressEvent } from '../../../services/api/webhooks/webhook-events.ts';
import type { WebhookLimits, WebhookOutcome } from '../../../services/api/webhooks/webhook-queue.ts';
import { createLogger } from '../../../services/base/logger.ts';
import { startWebhookSink, type WebhookSink } from '../../support/webhook-receiver.ts';

const KEY = 'hookkey';
const SECRET = 'a-secret-for-webhooks-that-is-long-enough';
const cleanUps: (() => Promise<void>)[] = [];
afterEach(async () => {
  await Promise.all(cleanUps.splice(0).map((cleanUp) => cleanUp()));
});

async function sink(answer?: Parameters<typeof startWebhookSink>[2]): Promise<WebhookSink> {
  const opened = await startWebhookSink(KEY, SECRET, answer);
  cleanUps.push(() => opened.close());
  return opened;
}

function dispatcher(
  urls: string[],
  limits: Partial<WebhookLimits> = {},
): { hooks: WebhookDispatcher; outcomes: WebhookOutcome[] } {
  const outcomes: WebhookOutcome[] = [];
  const hooks = new WebhookDispatcher({
    urls,
    apiKey: KEY,
    keys: new Map([
      [KEY, SECRET],
      ['other', 'another-secret-that-is-also-long-enough'],
    ]),
    logger: createLogger({ level: 'silent' }),
    limits: { firstRetryMs: 1, ...limits },
    onOutcome: (outcome) => outcomes.push(outcome),
  });
  cleanUps.push(() => hooks.close(0));
  return { hooks, outcomes };
}

const room = (name: string): livekit.Room => new livekit.Room({ sid: `RM_${name}`, name });

it("is accepted by LiveKit's own receiver, in order, with id and time", async () => {
  const target = await sink();
  const { hooks } = dispatcher([target.url]);
  const names = Array.from({ length: 20 }, (_, i) => `event_${i}`);
  for (const event of names) {
    hooks.notify({ event, room: room('studio') });
  }
  await target.event(({ event }) => (event as string) === 'event_19');
  expect(target.received.map(({ event }) => event.event)).toEqual(names);
  const [first] = target.received;
  expect(first?.contentType).toBe('application/webhook+json');
  expect(first?.event.room?.name).toBe('studio');
  expect(first?.event.id).toMatch(/^EV_\w{12}$/);
  expect(Number(first?.event.createdAt)).toBeGreaterThan(1.7e9);
});

it('tries again until the receiver takes it, and only then sends the next', async () => {
  const target = await sink((response, post) => {
    if (post <= 3) {
      response.writeHead(503).end();
    }
    return post <= 3;
  });
  const { hooks, outcomes } = dispatcher([target.url]);
  hooks.notify({ event: 'room_started', room: room('studio') });
  hooks.notify({ event: 'room_finished', room: room('studio') });
  await target.event(({ event }) => event === 'room_finished');
  expect(target.received.map(({ event }) => event.event)).toEqual(['room_started', 'room_finished']);
  expect(target.posts()).toBe(5);
  await hooks.close(5_000);
  expect(outcomes).toEqual(['sent', 'sent']);
});

it('gives up on what is refused for good, and tells how many the receiver missed', async () => {
  const target = await sink((response, post) => {
    if (post === 1) {
      response.writeHead(400).end();
    }
    return post === 1;
  });
  const { hooks, outcomes } = dispatcher([target.url]);
  hooks.notify({ event: 'room_started', room: room('studio') });
  hooks.notify({ event: 'room_finished', room: room('studio') });
  const second = await target.event(({ event }) => event === 'room_finished');
  // eslint-disable-next-line @typescript-eslint/no-deprecated -- LiveKit still sends it
  expect(second.numDropped).toBe(1);
  await hooks.close(5_000);
  expect(outcomes).toEqual(['failed', 'sent']);
});

it('does not let one room or one receiver hold up another', async () => {
  const hung = await sink(() => true);
  const target = await sink();
  const { hooks } = dispatcher([hung.url, target.url], { requestTimeoutMs: 60_000 });
  hooks.notify({ event: 'room_started', room: room('one') });
  hooks.notify({ event: 'room_started', room: room('two') });
  await target.event(({ room: about }) => about?.name === 'one');
  await target.event(({ room: about }) => about?.name === 'two');
  expect(hung.posts()).toBe(2);
});

it('drops what does not fit the queue, and what waited too long', async () => {
  const target = await sink(() => true);
  const { hooks, outcomes } = dispatcher([target.url], { maxDepth: 2, requestTimeoutMs: 60_000 });
  for (let i = 0; i < 5; i++) {
    hooks.notify({ event: `event_${i}`, room: room('studio') });
  }
  expect(outcomes).toEqual(['dropped', 'dropped']);
  const late = dispatcher([(await sink()).url], { maxAgeMs: -1 });
  late.hooks.notify({ event: 'room_started', room: room('studio') });
  await late.hooks.close(1_000);
  expect(late.outcomes).toEqual(['dropped']);
});

it('also tells the receivers of a single request, with the key it names', async () => {
  const target = await sink();
  const { hooks } = dispatcher([]);
  hooks.notify({ event: 'egress_started' }, [
    { url: target.url, signingKey: '' },
    { url: target.url, signingKey: 'other' },
    { url: target.url, signingKey: 'unknown' },
  ]);
  await hooks.close(5_000);
  // The one signed with the other key is delivered too, but not for this receiver to accept.
  expect(target.posts()).toBe(2);
  expect(target.received).toHaveLength(1);
});

it('waits for the last events when it closes', async () => {
  const target = await sink();
  const { hooks } = dispatcher([target.url]);
  hooks.notify({ event: 'room_finished', room: room('studio') });
  await hooks.close(5_000);
  expect(target.received).toHaveLength(1);
  hooks.notify({ event: 'too late' });
  expect(target.posts()).toBe(1);
});

it('makes one event of every change of an egress, and none after its end', () => {
  const info = (status: livekit.EgressStatus): livekit.EgressInfo =>
    new livekit.EgressInfo({ egressId: 'EG_1', status });
  const { EGRESS_STARTING, EGRESS_ACTIVE, EGRESS_ENDING, EGRESS_COMPLETE, EGRESS_FAILED } =
    livekit.EgressStatus;
  const name = (before: livekit.EgressStatus, after: livekit.EgressStatus): string | undefined =>
    egressEvent(info(before), info(after))?.event;
  expect(name(EGRESS_STARTING, EGRESS_ACTIVE)).toBe('egress_updated');
  expect(name(EGRESS_ACTIVE, EGRESS_ENDING)).toBe('egress_updated');
  expect(name(EGRESS_ENDING, EGRESS_COMPLETE)).toBe('egress_ended');
  expect(name(EGRESS_STARTING, EGRESS_FAILED)).toBe('egress_ended');
  expect(name(EGRESS_COMPLETE, EGRESS_COMPLETE)).toBeUndefined();
  expect(name(EGRESS_FAILED, EGRESS_COMPLETE)).toBeUndefined();
});

it('tells that an ingress started and ended, once each', () => {
  const { ENDPOINT_INACTIVE, ENDPOINT_BUFFERING, ENDPOINT_PUBLISHING, ENDPOINT_ERROR } =
    livekit.IngressState_Status;
  const name = (
    before: livekit.IngressState_Status,
    status: livekit.IngressState_Status,
  ): string | undefined =>
    ingressEvent(before, new livekit.IngressInfo({ roomName: 'studio', state: { status } }))?.event;
  expect(name(ENDPOINT_INACTIVE, ENDPOINT_BUFFERING)).toBeUndefined();
  expect(name(ENDPOINT_BUFFERING, ENDPOINT_PUBLISHING)).toBe('ingress_started');
  expect(name(ENDPOINT_PUBLISHING, ENDPOINT_PUBLISHING)).toBeUndefined();
  expect(name(ENDPOINT_PUBLISHING, ENDPOINT_INACTIVE)).toBe('ingress_ended');
  expect(name(ENDPOINT_BUFFERING, ENDPOINT_ERROR)).toBe('ingress_ended');
  expect(name(ENDPOINT_ERROR, ENDPOINT_INACTIVE)).toBeUndefined();
});
