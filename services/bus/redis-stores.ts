import type { Logger } from '../base/logger.ts';
import type { RedisBus } from './redis-bus.ts';
import { RedisEgressStore } from './redis-egress-store.ts';
import { RedisIngressStore } from './redis-ingress-store.ts';

export type RedisStores = {
  egressStore: RedisEgressStore;
  ingressStore: RedisIngressStore;
  /** Before the bus, whose connection they use. */
  close(): Promise<void>;
};

/** The records of all nodes, on the bus's Redis. */
export function createRedisStores(bus: RedisBus, logger: Logger): RedisStores {
  const egressStore = new RedisEgressStore(bus.connection, logger);
  const ingressStore = new RedisIngressStore(bus.connection, logger);
  return { egressStore, ingressStore, close: () => egressStore.close() };
}
