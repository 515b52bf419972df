import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { WebhookDispatcher } from '../api/webhooks/webhook-dispatcher.ts';
import type { LoadedConfig } from '../base/config/load.ts';
import type { Config } from '../base/config/schema.ts';
import { ServiceError } from '../base/errors.ts';
import { startHealthServer } from '../base/http/health-server.ts';
import { newId } from '../base/ids.ts';
import type { Logger } from '../base/logger.ts';
import { createMetrics, type Metrics } from '../base/metrics/metrics.ts';
import type { IngressStore } from '../bus/ingress-store.ts';
import { startLeaseReaper } from '../bus/leases.ts';
import { claimServer } from '../bus/server-claim.ts';
import type { EgressService } from '../egress/egress-service.ts';
import type { Ingress } from '../ingress/ingress-service.ts';
import { LocalMedia } from '../media/rtp/local-media.ts';
import { publicHost, selfHost } from './addresses.ts';
import { openBackbone, type Backbone } from './backbone.ts';
import { startEgressPart } from './egress-part.ts';
import { startIngressPart } from './ingress-part.ts';
import { baseUrls, portUnlessOff, rtmpUrl, whipUrl } from './ingress-urls.ts';
import { PartList } from './part-list.ts';
import { rtmpsUrl } from './rtmps.ts';
import { srtUrl } from './srt.ts';
import { partsOf, type Role } from './roles.ts';
import { startServerPart } from './server-part.ts';
import { observeEgress, observeIngress, observeRooms } from './service-metrics.ts';
import type { Tools } from './tools.ts';
import { VERSION } from './version.ts';

/** dist/ or services/: both sit one level below the project. */
export const DIST_DIR = path.resolve(import.meta.dirname, '..', 'dist');
/** How long undelivered webhooks may hold up the end. */
const WEBHOOK_GRACE_MS = 5_000;

export type RunningSluice = {
  nodeId: string;
  role: Role;
  /** 0 = nothing listens there in this process. */
  ports: {
    http: number;
    health: number;
    rtmp: number;
    rtmps: number;
    srt: number;
    whip: number;
    rtcUdp: number;
    rtcTcp: number;
  };
  /** '' = not served. */
  urls: { api: string; ws: string; rtmp: string; rtmps: string; srt: string; whip: string };
  recordingsDir: string;
  ingressStore: IngressStore;
  /** Takes nothing new and waits until running sessions and recordings have ended by themselves. */
  drain(): Promise<void>;
  /** Finishes running recordings, then stops everything in the reverse order of the start. Idempotent. */
  close(cause: string): Promise<void>;
};

export type ComposeOptions = LoadedConfig & { role: Role; logger: Logger; tools: Tools };

/** Starts the services of a role in this process, joined by the bus. */
export async function compose(options: ComposeOptions): Promise<RunningSluice> {
  const { config, logger, role } = options;
  const wanted = partsOf(role);
  const nodeId = newId('ND_');
  const startedAtMs = Date.now();
  const recordingsDir = path.resolve(config.recordings_dir);
  const metrics = createMetrics({ nodeId });
  const parts = new PartList(logger);
  const ports = { http: 0, health: 0, rtmp: 0, rtmps: 0, srt: 0, whip: 0, rtcUdp: 0, rtcTcp: 0 };
  const urls = { api: '', ws: config.ws_url ?? '', rtmp: '', rtmps: '', srt: '', whip: '' };
  const host = publicHost(config);
  const rtmpPort = portUnlessOff(config.ingress.rtmp_port);
  const whipPort = portUnlessOff(config.ingress.whip_port);
  let backbone: Backbone | undefined;
  let ingress: Ingress | undefined;
  let egress: EgressService | undefined;

  const status = (): object => ({
    name: 'sluice',
    version: VERSION,
    role,
    node_id: nodeId,
    started_at: new Date(startedAtMs).toISOString(),
    dev_keys: options.devKeys,
    ports: {
      http: ports.http,
      health: ports.health,
      rtmp: ports.rtmp,
      rtmps: ports.rtmps,
      srt: ports.srt,
      whip: ports.whip,
      rtc_udp: ports.rtcUdp,
      rtc_tcp: ports.rtcTcp,
    },
    urls,
    services: parts.running(),
    tools: options.tools.summary,
  });
  const ready = (): { ready: boolean; checks: Record<string, boolean> } => {
    const checks = {
      ...Object.fromEntries(wanted.map((name) => [name, parts.isRunning(name)])),
      ...(config.redis === undefined ? {} : { redis: backbone?.isReady() === true }),
    };
    return { ready: Object.values(checks).every(Boolean), checks };
  };

  try {
    backbone = parts.add('backbone', await openBackbone(config, logger));
    const { bus, egressStore, ingressStore } = backbone;
    parts.add('lease reaper', startLeaseReaper(bus, { nodeId, logger }));
    const localMedia = new LocalMedia();
    if (wanted.includes('api')) {
      parts.add('server claim', await claimServer(bus, { nodeId, logger }));
      await mkdir(recordingsDir, { recursive: true });
      const webhooks = webhooksOf(config, logger, metrics);
      parts.add('webhooks', { close: () => webhooks.close(WEBHOOK_GRACE_MS) });
      const { sfu, api } = await startServerPart({
        ...options,
        ...{ nodeId, bus, metrics, localMedia, egressStore, ingressStore, webhooks, parts, recordingsDir },
        homeDir: path.join(DIST_DIR, 'templates', 'home'),
        ingressBaseUrls: () => baseUrls(urls),
        status,
        ready,
      });
      ports.rtcUdp = sfu.udpPort;
      ports.rtcTcp = sfu.tcpPort;
      ports.http = api.port;
      urls.api = `http://${host}:${api.port}`;
      urls.ws = `ws://${host}:${api.port}`;
      urls.rtmp = rtmpUrl(config, host, rtmpPort);
      urls.whip = whipUrl(config, host, whipPort);
      observeRooms(metrics, bus);
    }
    const room = { wsUrl: roomUrl(config, ports.http), ...firstKey(config.keys) };
    if (wanted.includes('ingress')) {
      ingress = await startIngressPart({ ...options, ...{ nodeId, bus, metrics, localMedia, room, parts } });
      ports.rtmp = ingress.rtmpPort;
      urls.rtmp = rtmpUrl(config, host, rtmpPort === undefined ? undefined : ports.rtmp);
      ports.rtmps = ingress.rtmpsPort;
      urls.rtmps = rtmpsUrl(config, host, ports.rtmps);
      ports.srt = ingress.srtPort;
      urls.srt = srtUrl(config, host, ports.srt);
      ports.whip = ingress.whipPort;
      urls.whip = whipUrl(config, host, whipPort === undefined ? undefined : ports.whip);
      observeIngress(metrics, ingress);
    }
    if (wanted.includes('egress')) {
      await mkdir(recordingsDir, { recursive: true });
      egress = await startEgressPart({
        ...options,
        ...{ nodeId, bus, room, recordingsDir, distDir: DIST_DIR, parts },
      });
      observeEgress(metrics, egress);
    }
    if (!wanted.includes('api')) {
      const [bindAddress = '127.0.0.1'] = config.bind_addresses;
      const health = await startHealthServer({
        port: config.health_port,
        bindAddress,
        ready,
        available: () => ingress?.isAvailable() ?? true,
        status,
        metrics,
      });
      ports.health = parts.add('health', health).port;
    }
    const drain = async (): Promise<void> => {
      await Promise.all([ingress?.drain(), egress?.drain()]);
    };
    return {
      nodeId,
      role,
      ports,
      urls,
      recordingsDir,
      ingressStore,
      drain,
      close: (cause) => parts.close(cause),
    };
  } catch (error) {
    await parts.close('start failed');
    throw error;
  }
}

/** Workers join rooms through LiveKit's protocol, so they could as well join another server. */
function roomUrl(config: Config, httpPort: number): string {
  return httpPort === 0 ? (config.ws_url ?? '') : `ws://${selfHost(config)}:${httpPort}`;
}

function webhooksOf({ webhook, keys }: Config, logger: Logger, metrics: Metrics): WebhookDispatcher {
  const apiKey = webhook.api_key === '' ? firstKey(keys).apiKey : webhook.api_key;
  if (!(apiKey in keys)) {
    throw new ServiceError('invalid_argument', 'webhook.api_key: not one of "keys"');
  }
  const outcomes = metrics.counter('livekit_webhook_dispatch_total', 'Webhooks by what became of them.', [
    'status',
  ]);
  return new WebhookDispatcher({
    urls: webhook.urls,
    apiKey,
    keys: new Map(Object.entries(keys)),
    logger: logger.child({ service: 'webhook' }),
    onOutcome: (status) => {
      outcomes.inc({ status });
    },
  });
}

function firstKey(keys: Readonly<Record<string, string>>): { apiKey: string; apiSecret: string } {
  const [pair] = Object.entries(keys);
  if (pair === undefined) {
    throw new ServiceError('invalid_argument', 'keys: at least one API key is needed');
  }
  return { apiKey: pair[0], apiSecret: pair[1] };
}
