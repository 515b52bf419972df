import type * as livekit from '@livekit/protocol';
import { ServiceError } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import type { Bus, Unregister } from '../bus/bus.ts';
import type { EgressStore } from '../bus/egress-store.ts';
import type { IngressStore } from '../bus/ingress-store.ts';
import { IOInfo } from '../bus/rpc-methods.ts';
import type { WebhookDispatcher } from './webhooks/webhook-dispatcher.ts';
import {
  egressEvent,
  egressStarted,
  ingressEvent,
  sessionReplaced,
  webhooksOf,
} from './webhooks/webhook-events.ts';

export type IoInfoOptions = {
  bus: Bus;
  egressStore: EgressStore;
  ingressStore: IngressStore;
  webhooks: WebhookDispatcher;
  logger: Logger;
};

/** Serves `IOInfo`: workers look ingress endpoints up and report sessions and jobs here; webhooks tell of them. */
export async function serveIoInfo(options: IoInfoOptions): Promise<Unregister> {
  const { bus, egressStore, ingressStore, webhooks, logger } = options;

  async function createEgress(info: livekit.EgressInfo): Promise<object> {
    await egressStore.put(info);
    webhooks.notify(egressStarted(info), webhooksOf(info));
    return {};
  }

  async function updateEgress(info: livekit.EgressInfo): Promise<object> {
    const before = await egressStore.get(info.egressId);
    const stored = await egressStore.put(info);
    const event = stored ? egressEvent(before, info) : undefined;
    if (event !== undefined) {
      webhooks.notify(event, webhooksOf(info));
    }
    if (!stored) {
      logger.debug({ egressId: info.egressId }, 'late egress update ignored');
    }
    return {};
  }

  /** Session of each endpoint that was announced: one whose encoder comes back does not start again. */
  const started = new Map<string, string>();

  async function updateIngress(ingressId: string, state: livekit.IngressState): Promise<void> {
    const info = await ingressStore.get(ingressId);
    const outcome = await ingressStore.updateState(ingressId, state);
    if (info === undefined || outcome === 'missing') {
      throw new ServiceError('not_found', 'ingress does not exist');
    }
    if (outcome === 'stale') {
      logger.debug({ ingressId }, 'late ingress state ignored');
      return;
    }
    const before = info.state?.status;
    const replaced = sessionReplaced(info, state);
    if (replaced !== undefined) {
      webhooks.notify(replaced);
    }
    info.state = state;
    const event = ingressEvent(before, info);
    const isRepeated = event?.event === 'ingress_started' && started.get(ingressId) === state.resourceId;
    if (event?.event === 'ingress_started') {
      started.set(ingressId, state.resourceId);
    } else if (event !== undefined) {
      started.delete(ingressId);
    }
    if (event !== undefined && !isRepeated) {
      webhooks.notify(event);
    }
  }

  async function findIngress(ingressId: string, streamKey: string): Promise<livekit.IngressInfo> {
    if (ingressId === '' && streamKey === '') {
      throw new ServiceError('invalid_argument', 'request needs to specify either IngressId or StreamKey');
    }
    const info =
      ingressId === '' ? await ingressStore.getByStreamKey(streamKey) : await ingressStore.get(ingressId);
    if (info === undefined) {
      throw new ServiceError('not_found', 'ingress does not exist');
    }
    return info;
  }

  const registrations = await Promise.all([
    bus.serve(IOInfo.createEgress, createEgress),
    bus.serve(IOInfo.updateEgress, updateEgress),
    bus.serve(IOInfo.getEgress, async ({ egressId }) => {
      const info = await egressStore.get(egressId);
      if (info === undefined) {
        throw new ServiceError('not_found', 'egress does not exist');
      }
      return info;
    }),
    bus.serve(IOInfo.listEgress, async (request) => ({
      items: await egressStore.list({
        ...(request.egressId === '' ? {} : { egressId: request.egressId }),
        ...(request.roomName === '' ? {} : { roomName: request.roomName }),
        active: request.active,
      }),
    })),
    bus.serve(IOInfo.getIngressInfo, async ({ ingressId, streamKey }) => ({
      info: await findIngress(ingressId, streamKey),
    })),
    bus.serve(IOInfo.updateIngressState, async ({ ingressId, state }) => {
      if (state !== undefined) {
        await updateIngress(ingressId, state);
      }
      return {};
    }),
  ]);
  return async () => {
    await Promise.all(registrations.map((unregister) => unregister()));
  };
}
