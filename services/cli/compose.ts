import { mkdir, mkdtemp, rmdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { LoadedConfig } from '../base/config/load.ts';
import type { Config } from '../base/config/schema.ts';
import { ServiceError } from '../base/errors.ts';
import { newId } from '../base/ids.ts';
import type { Logger } from '../base/logger.ts';
import { createMetrics } from '../base/metrics/metrics.ts';
import { startApi, type HttpMounts } from '../api/api-server.ts';
import type { S3Target } from '../model/egress.ts';
import { MemoryEgressStore } from '../bus/egress-store.ts';
import { MemoryIngressStore, type IngressStore } from '../bus/ingress-store.ts';
import { MemoryBus } from '../bus/memory-bus.ts';
import { startEgress } from '../egress/egress-service.ts';
import { startIngress } from '../ingress/ingress-service.ts';
import { LocalMedia } from '../media/rtp/local-media.ts';
import { startSfu } from '../sfu/sfu-service.ts';
import { advertisedAddresses, isLoopbackOnly, mediaBindAddress, publicHost, selfHost } from './addresses.ts';
import { observeServices } from './service-metrics.ts';
import type { Tools } from './tools.ts';
import { VERSION } from './version.ts';

/** dist/ or services/: both sit one level below the project. */
const PROJECT_DIR = path.resolve(import.meta.dirname, '..');

export type RunningSluice = {
  nodeId: string;
  ports: { http: number; rtmp: number; rtcUdp: number };
  urls: { api: string; ws: string; rtmp: string };
  recordingsDir: string;
  ingressStore: IngressStore;
  /** Finishes running recordings, then stops everything in the reverse order of the start. Idempotent. */
  close(cause: string): Promise<void>;
};

export type ComposeOptions = LoadedConfig & { logger: Logger; tools: Tools };

type Part = { name: string; close: (cause: string) => Promise<void> };

/** Starts rooms, ingress, egress and API in this process, joined by the in-memory bus. */
export async function compose(options: ComposeOptions): Promise<RunningSluice> {
  const { config, logger } = options;
  const nodeId = newId('ND_');
  const startedAtMs = Date.now();
  const recordingsDir = path.resolve(config.recordings_dir);
  await mkdir(recordingsDir, { recursive: true });
  const keys = new Map(Object.entries(config.keys));
  const bus = new MemoryBus({ logger });
  const localMedia = new LocalMedia();
  const metrics = createMetrics({ nodeId });
  const egressStore = new MemoryEgressStore();
  const ingressStore = new MemoryIngressStore();
  const parts: Part[] = [];
  const running = new Set<string>();
  const ports = { http: 0, rtmp: 0, rtcUdp: 0 };
  const host = publicHost(config);
  const urls = { api: '', ws: '', rtmp: '' };

  const started = <P extends Omit<Part, 'name'>>(name: string, part: P): P => {
    parts.push({
      name,
      close: async (cause) => {
        running.delete(name);
        await part.close(cause);
      },
    });
    running.add(name);
    return part;
  };

  let closing: Promise<void> | undefined;
  const close = (cause: string): Promise<void> => {
    closing ??= (async () => {
      for (const part of parts.reverse()) {
        await part.close(cause).catch((error: unknown) => {
          logger.error({ part: part.name, err: error }, 'part did not close cleanly');
        });
      }
      await bus.close();
    })();
    return closing;
  };

  try {
    const sfu = started(
      'sfu',
      await startSfu({
        bus,
        keys,
        logger: logger.child({ service: 'sfu' }),
        localMedia,
        rtc: {
          udpPort: config.rtc.udp_port,
          bindAddress: mediaBindAddress(config),
          advertiseAddresses: advertisedAddresses(config),
        },
        room: {
          autoCreate: config.room.auto_create,
          emptyTimeoutS: config.room.empty_timeout,
          departureTimeoutS: config.room.departure_timeout,
          maxParticipants: config.room.max_participants,
        },
        nodeId,
      }),
    );
    ports.rtcUdp = sfu.udpPort;
    const mounts: HttpMounts = {
      upgrade: (request, socket, head) => sfu.handleUpgrade(request, socket, head),
      request: (request, response) => sfu.handleRequest(request, response),
    };
    const api = started(
      'api',
      await startApi({
        bus,
        keys,
        logger: logger.child({ service: 'api' }),
        metrics,
        port: config.port,
        bindAddresses: config.bind_addresses,
        mounts,
        egressStore,
        ingressStore,
        rtmpBaseUrl: () => urls.rtmp,
        recordingsDir,
        homeDir: path.join(PROJECT_DIR, 'dist', 'templates', 'home'),
        openOnLoopback: options.devKeys && isLoopbackOnly(config.bind_addresses),
        status: () => ({
          name: 'sluice',
          version: VERSION,
          node_id: nodeId,
          started_at: new Date(startedAtMs).toISOString(),
          dev_keys: options.devKeys,
          ports: { http: ports.http, rtmp: ports.rtmp, rtc_udp: ports.rtcUdp },
          urls,
          services: [...running],
          tools: options.tools.summary,
        }),
        ready: () => readiness(running),
      }),
    );
    ports.http = api.port;
    urls.api = `http://${host}:${api.port}`;
    urls.ws = `ws://${host}:${api.port}`;
    // Workers join rooms through LiveKit's protocol, so they could as well join another server.
    const room = { wsUrl: `ws://${selfHost(config)}:${api.port}`, ...firstKey(config.keys) };
    const ingress = started(
      'ingress',
      await startIngress({
        bus,
        logger: logger.child({ service: 'ingress' }),
        localMedia,
        rtmp: { port: config.ingress.rtmp_port, bindAddress: mediaBindAddress(config) },
        room,
        ffmpegPath: options.tools.ffmpegPath,
      }),
    );
    ports.rtmp = ingress.rtmpPort;
    urls.rtmp = config.ingress.rtmp_base_url ?? `rtmp://${host}:${ports.rtmp}/live`;
    const temporary = path.resolve(config.egress.tmp_dir || tmpdir());
    await mkdir(temporary, { recursive: true });
    const workDir = await mkdtemp(path.join(temporary, 'sluice-'));
    const egress = await startEgress({
      bus,
      logger: logger.child({ service: 'egress' }),
      room,
      tools: options.tools,
      storage: { recordingsDir, ...s3Target(config) },
      tmpDir: workDir,
      handlerEntry: path.join(PROJECT_DIR, 'dist', 'egress-handler.js'),
      templatesDir: path.join(PROJECT_DIR, 'dist', 'templates'),
      cpuCost: { roomComposite: config.egress.cpu_cost.room_composite, track: config.egress.cpu_cost.track },
      maxCpuUtilization: config.egress.max_cpu_utilization,
    });
    observeServices(metrics, {
      bus,
      activeIngressIds: () => ingress.activeIngressIds(),
      egressJobs: () => egress.jobs(),
    });
    started('egress', {
      close: async (cause) => {
        await egress.close(cause);
        // Only when empty: what could not be stored stays for the operator.
        await rmdir(workDir).catch(() => undefined);
      },
    });
  } catch (error) {
    await close('start failed');
    throw error;
  }
  return { nodeId, ports, urls, recordingsDir, ingressStore, close };
}

const PARTS = ['sfu', 'api', 'ingress', 'egress'] as const;

function s3Target(config: Config): { s3?: S3Target } {
  const s3 = config.egress.storage?.s3;
  if (s3 === undefined) {
    return {};
  }
  return {
    s3: {
      kind: 's3',
      accessKey: s3.access_key,
      secret: s3.secret,
      sessionToken: s3.session_token,
      region: s3.region,
      endpoint: s3.endpoint,
      bucket: s3.bucket,
      forcePathStyle: s3.force_path_style,
      metadata: {},
      tagging: '',
      contentDisposition: '',
    },
  };
}

function firstKey(keys: Readonly<Record<string, string>>): { apiKey: string; apiSecret: string } {
  const [pair] = Object.entries(keys);
  if (pair === undefined) {
    throw new ServiceError('invalid_argument', 'keys: at least one API key is needed');
  }
  return { apiKey: pair[0], apiSecret: pair[1] };
}

function readiness(running: ReadonlySet<string>): { ready: boolean; checks: Record<string, boolean> } {
  const checks = Object.fromEntries(PARTS.map((name) => [name, running.has(name)]));
  return { ready: Object.values(checks).every(Boolean), checks };
}
