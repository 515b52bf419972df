import * as livekit from '@livekit/protocol';
import type { PartialMessage } from '@bufbuild/protobuf';
import { isEnded } from '../../bus/egress-store.ts';
import { redactEgress } from '../../protocol/redact-egress.ts';
import type { ExtraWebhooks } from './webhook-dispatcher.ts';

type Event = PartialMessage<livekit.WebhookEvent>;

/** LiveKit's event for a record that changed; undefined when there is none. */
export function egressEvent(
  before: livekit.EgressInfo | undefined,
  after: livekit.EgressInfo,
): Event | undefined {
  if (before !== undefined && isEnded(before.status)) {
    return undefined;
  }
  const egressInfo = redactEgress(after);
  if (isEnded(after.status)) {
    return { event: 'egress_ended', egressInfo };
  }
  return after.status === livekit.EgressStatus.EGRESS_STARTING
    ? undefined
    : { event: 'egress_updated', egressInfo };
}

export function egressStarted(info: livekit.EgressInfo): Event {
  return { event: 'egress_started', egressInfo: redactEgress(info) };
}

/** Where the caller of this job wants to hear of it, besides the configured receivers. */
export function webhooksOf(info: livekit.EgressInfo): ExtraWebhooks {
  const { value } = info.request;
  return value !== undefined && 'webhooks' in value ? value.webhooks : [];
}

const { ENDPOINT_BUFFERING, ENDPOINT_ERROR, ENDPOINT_PUBLISHING } = livekit.IngressState_Status;
const RUNNING: ReadonlySet<livekit.IngressState_Status | undefined> = new Set([
  ENDPOINT_BUFFERING,
  ENDPOINT_PUBLISHING,
]);

/** `ingress_started` when media flows, `ingress_ended` when a running session is over or one could not start. */
export function ingressEvent(
  before: livekit.IngressState_Status | undefined,
  info: livekit.IngressInfo,
): Event | undefined {
  const { status } = info.state ?? {};
  if (status === before) {
    return undefined;
  }
  // With the stream key, as LiveKit: whoever can verify a webhook can also list the ingress endpoints.
  const about: Event = { room: { name: info.roomName }, ingressInfo: info };
  if (status === ENDPOINT_PUBLISHING) {
    return { ...about, event: 'ingress_started' };
  }
  const isOver = RUNNING.has(before) ? !RUNNING.has(status) : status === ENDPOINT_ERROR;
  return isOver ? { ...about, event: 'ingress_ended' } : undefined;
}

/**
 * `ingress_ended` for a session whose end nobody told: its node was lost, and the encoder came back to another
 * before that was noticed. Undefined when there is none.
 */
export function sessionReplaced(before: livekit.IngressInfo, next: livekit.IngressState): Event | undefined {
  const { state } = before;
  if (state === undefined || state.resourceId === next.resourceId || !RUNNING.has(state.status)) {
    return undefined;
  }
  const ingressInfo = before.clone();
  const last = state.clone();
  last.status = ENDPOINT_ERROR;
  last.error = 'the encoder publishes through another session now';
  last.updatedAt = next.startedAt;
  last.endedAt = next.startedAt;
  ingressInfo.state = last;
  return { event: 'ingress_ended', room: { name: before.roomName }, ingressInfo };
}
