import { mkdtemp, mkdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { EgressStatus, type EgressInfo } from '@livekit/protocol';
import { build } from 'esbuild';
import { createLogger } from '../../services/base/logger.ts';
import { MemoryEgressStore } from '../../services/bus/egress-store.ts';
import type { RpcStartEgressRequest } from '../../services/bus/rpc-messages.ts';
import { EgressHandler, EgressInternal, IOInfo } from '../../services/bus/rpc-methods.ts';
import {
  startEgress,
  type EgressService,
  type EgressServiceOptions,
} from '../../services/egress/egress-service.ts';
import { API_KEY, API_SECRET, type SfuServer } from './sfu-server.ts';

export type EgressNode = {
  service: EgressService;
  /** Recordings land here. */
  folder: string;
  tmpDir: string;
  /** Every state that was reported, in order. */
  history(egressId: string): EgressStatus[];
  start(egressId: string, room: string, request: RpcStartEgressRequest['request']): Promise<EgressInfo>;
  stop(egressId: string): Promise<EgressInfo>;
  /** Ends what a failed test has left running. */
  stopAll(): Promise<void>;
  /** Waits for one of the statuses; fails when the job ends with another one. */
  reached(egressId: string, ...statuses: EgressStatus[]): Promise<EgressInfo>;
  close(): Promise<void>;
};

/** Tests and benches run in the project's folder. */
const PROJECT = path.resolve('.');
const REACH_TIMEOUT_MS = 55_000;

/** The real egress service with real handler processes, next to a running SFU. */
export async function startEgressNode(
  server: SfuServer,
  options: Partial<EgressServiceOptions> = {},
): Promise<EgressNode> {
  const folder = await mkdtemp(path.join(tmpdir(), 'sluice-egress-'));
  const tmpDir = path.join(folder, 'tmp');
  // Inside node_modules, so that the bundle finds the packages it leaves outside.
  const handlerDir = path.join(PROJECT, 'node_modules', '.cache', `sluice-egress-${process.pid}`);
  const handlerEntry = path.join(handlerDir, 'egress-handler.mjs');
  await mkdir(handlerDir, { recursive: true });
  await build({
    entryPoints: [path.join(PROJECT, 'services/egress/egress-handler.ts')],
    outfile: handlerEntry,
    bundle: true,
    packages: 'external',
    platform: 'node',
    target: 'node20',
    format: 'esm',
  });
  const store = new MemoryEgressStore();
  const history = new Map<string, EgressStatus[]>();
  const waiters = new Set<() => void>();
  const wake = (): void => {
    for (const waiter of [...waiters]) {
      waiter();
    }
  };
  const put = async (info: EgressInfo): Promise<object> => {
    if (await store.put(info)) {
      history.set(info.egressId, [...(history.get(info.egressId) ?? []), info.status]);
    }
    wake();
    return {};
  };
  await server.bus.serve(IOInfo.createEgress, put);
  await server.bus.serve(IOInfo.updateEgress, put);
  const service = await startEgress({
    bus: server.bus,
    logger: createLogger({ level: (process.env['TEST_LOG'] as 'info' | undefined) ?? 'silent' }),
    room: { wsUrl: server.wsUrl, apiKey: API_KEY, apiSecret: API_SECRET },
    tools: {
      ffmpegPath: process.env['FFMPEG_PATH'] ?? '/usr/bin/ffmpeg',
      ffprobePath: process.env['FFPROBE_PATH'] ?? '/usr/bin/ffprobe',
      chromiumPath: undefined,
    },
    storage: { recordingsDir: folder },
    tmpDir,
    handlerEntry,
    templatesDir: path.join(PROJECT, 'dist', 'templates'),
    ...options,
  });
  return {
    service,
    folder,
    tmpDir,
    history: (egressId) => history.get(egressId) ?? [],
    start: (egressId, room, request) =>
      server.bus.request(
        EgressInternal.startEgress,
        { egressId, roomId: 'RM_test', roomName: room, request },
        { timeoutMs: 40_000 },
      ),
    stop: (egressId) => server.bus.request(EgressHandler.stopEgress, { egressId }, { topic: egressId }),
    stopAll: async () => {
      const stops = service
        .jobs()
        .map(({ egressId }) =>
          server.bus.request(EgressHandler.stopEgress, { egressId }, { topic: egressId }),
        );
      await Promise.allSettled(stops);
    },
    reached: async (egressId, ...statuses) => {
      const deadline = setTimeout(wake, REACH_TIMEOUT_MS);
      const until = performance.now() + REACH_TIMEOUT_MS;
      try {
        for (;;) {
          const info = await store.get(egressId);
          if (info !== undefined && statuses.includes(info.status)) {
            return info;
          }
          const isFinal = info !== undefined && info.status > EgressStatus.EGRESS_ENDING;
          if (isFinal || performance.now() >= until) {
            throw new Error(
              `egress ${egressId} is ${EgressStatus[info?.status ?? 0]}, not ${statuses.map((status) => EgressStatus[status]).join(' or ')}: ${info?.error ?? ''} ${info?.details ?? ''}`,
            );
          }
          await new Promise<void>((resolve) => {
            const waiter = (): void => {
              waiters.delete(waiter);
              resolve();
            };
            waiters.add(waiter);
          });
        }
      } finally {
        clearTimeout(deadline);
      }
    },
    close: async () => {
      await service.close('test over');
      await rm(folder, { recursive: true, force: true });
      await rm(handlerDir, { recursive: true, force: true });
    },
  };
}
