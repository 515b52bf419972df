import { startApi, type Api, type HttpMounts } from '../api/api-server.ts';
import type { IngressBaseUrls } from '../api/ingress-api.ts';
import type { WebhookDispatcher } from '../api/webhooks/webhook-dispatcher.ts';
import type { LoadedConfig } from '../base/config/load.ts';
import type { Logger } from '../base/logger.ts';
import type { Metrics } from '../base/metrics/metrics.ts';
import type { Bus } from '../bus/bus.ts';
import type { EgressStore } from '../bus/egress-store.ts';
import type { IngressStore } from '../bus/ingress-store.ts';
import type { LocalMedia } from '../media/rtp/local-media.ts';
import { startSfu, type Sfu } from '../sfu/sfu-service.ts';
import { advertisedAddresses, isLoopbackOnly, mediaBindAddress } from './addresses.ts';
import type { PartList } from './part-list.ts';

export type ServerPartOptions = LoadedConfig & {
  nodeId: string;
  bus: Bus;
  logger: Logger;
  metrics: Metrics;
  localMedia: LocalMedia;
  egressStore: EgressStore;
  ingressStore: IngressStore;
  webhooks: WebhookDispatcher;
  parts: PartList;
  homeDir: string;
  recordingsDir: string;
  ingressBaseUrls: () => IngressBaseUrls;
  status: () => object;
  ready: () => { ready: boolean; checks: Record<string, boolean> };
};

/** Rooms and API: what LiveKit calls the server. */
export async function startServerPart(options: ServerPartOptions): Promise<{ sfu: Sfu; api: Api }> {
  const { config, parts, logger, bus, webhooks } = options;
  const keys = new Map(Object.entries(config.keys));
  const sfu = parts.add(
    'sfu',
    await startSfu({
      bus,
      keys,
      logger: logger.child({ service: 'sfu' }),
      localMedia: options.localMedia,
      rtc: {
        udpPort: config.rtc.udp_port,
        tcpPort: config.rtc.tcp_port === 0 ? undefined : config.rtc.tcp_port,
        bindAddress: mediaBindAddress(config),
        advertiseAddresses: advertisedAddresses(config),
      },
      iceServers: {
        stunServers: config.rtc.stun_servers,
        turnServers: config.rtc.turn_servers.map(({ ttl, ...server }) => ({ ...server, ttlS: ttl })),
      },
      room: {
        autoCreate: config.room.auto_create,
        emptyTimeoutS: config.room.empty_timeout,
        departureTimeoutS: config.room.departure_timeout,
        maxParticipants: config.room.max_participants,
      },
      nodeId: options.nodeId,
      onRoomEvent: (event) => {
        webhooks.notify(event);
      },
    }),
  );
  const mounts: HttpMounts = {
    upgrade: (request, socket, head) => sfu.handleUpgrade(request, socket, head),
    request: (request, response) => sfu.handleRequest(request, response),
  };
  const api = parts.add(
    'api',
    await startApi({
      bus,
      keys,
      logger: logger.child({ service: 'api' }),
      metrics: options.metrics,
      port: config.port,
      bindAddresses: config.bind_addresses,
      mounts,
      egressStore: options.egressStore,
      ingressStore: options.ingressStore,
      webhooks,
      ingressBaseUrls: options.ingressBaseUrls,
      recordingsDir: options.recordingsDir,
      homeDir: options.homeDir,
      openOnLoopback: options.devKeys && isLoopbackOnly(config.bind_addresses),
      status: options.status,
      ready: options.ready,
    }),
  );
  return { sfu, api };
}
