import type * as livekit from '@livekit/protocol';
import { ServiceError } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import type { Bus, Unregister } from '../bus/bus.ts';
import type { EgressStore } from '../bus/egress-store.ts';
import type { IngressStore } from '../bus/ingress-store.ts';
import { IOInfo } from '../bus/rpc-methods.ts';

export type IoInfoOptions = {
  bus: Bus;
  egressStore: EgressStore;
  ingressStore: IngressStore;
  logger: Logger;
};

/** Serves `IOInfo`: workers look ingress endpoints up and report the state of sessions and jobs here. */
export async function serveIoInfo(options: IoInfoOptions): Promise<Unregister> {
  const { bus, egressStore, ingressStore, logger } = options;

  async function storeEgress(info: livekit.EgressInfo): Promise<object> {
    const stored = await egressStore.put(info);
    if (!stored) {
      logger.debug({ egressId: info.egressId }, 'late egress update ignored');
    }
    return {};
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
    bus.serve(IOInfo.createEgress, storeEgress),
    bus.serve(IOInfo.updateEgress, storeEgress),
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
        const outcome = await ingressStore.updateState(ingressId, state);
        if (outcome === 'missing') {
          throw new ServiceError('not_found', 'ingress does not exist');
        }
        if (outcome === 'stale') {
          logger.debug({ ingressId }, 'late ingress state ignored');
        }
      }
      return {};
    }),
  ]);
  return async () => {
    await Promise.all(registrations.map((unregister) => unregister()));
  };
}
