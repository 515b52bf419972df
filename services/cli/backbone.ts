import type { Config } from '../base/config/schema.ts';
import type { Logger } from '../base/logger.ts';
import type { Bus } from '../bus/bus.ts';
import { MemoryEgressStore, type EgressStore } from '../bus/egress-store.ts';
import { MemoryIngressStore, type IngressStore } from '../bus/ingress-store.ts';
import { MemoryBus } from '../bus/memory-bus.ts';
import { connectRedisBus } from '../bus/redis-bus.ts';
import { createRedisStores } from '../bus/redis-stores.ts';

/** What the services of one installation share: the bus, and the records everybody can list. */
export type Backbone = {
  bus: Bus;
  egressStore: EgressStore;
  ingressStore: IngressStore;
  /** false while there is no connection. */
  isReady(): boolean;
  close(cause: string): Promise<void>;
};

/** In memory for a single process, else in Redis. @throws ServiceError unavailable when Redis cannot be reached. */
export async function openBackbone({ redis }: Config, logger: Logger): Promise<Backbone> {
  if (redis === undefined) {
    const bus = new MemoryBus({ logger });
    return {
      bus,
      egressStore: new MemoryEgressStore(),
      ingressStore: new MemoryIngressStore(),
      isReady: () => true,
      close: () => bus.close(),
    };
  }
  const bus = await connectRedisBus({ redis, logger: logger.child({ service: 'bus' }) });
  const stores = createRedisStores(bus, logger);
  return {
    bus,
    egressStore: stores.egressStore,
    ingressStore: stores.ingressStore,
    isReady: () => bus.state() === 'ready',
    close: async () => {
      await stores.close();
      await bus.close();
    },
  };
}
