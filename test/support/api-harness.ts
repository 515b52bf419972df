import * as livekit from '@livekit/protocol';
import { startApi, type Api } from '../../services/api/api-server.ts';
import { ServiceError } from '../../services/base/errors.ts';
import { createLogger } from '../../services/base/logger.ts';
import { createMetrics } from '../../services/base/metrics/metrics.ts';
import { MemoryEgressStore } from '../../services/bus/egress-store.ts';
import { MemoryIngressStore } from '../../services/bus/ingress-store.ts';
import { MemoryBus } from '../../services/bus/memory-bus.ts';
import { EgressInternal, RoomInternal } from '../../services/bus/rpc-methods.ts';
import { mintToken } from '../../services/protocol/token.ts';
import type { VideoGrant } from '../../services/model/grants.ts';
import { silentWebhooks } from './webhooks.ts';

export const API_KEY = 'testkey';
export const API_SECRET = 'a-test-secret-that-is-long-enough-for-hs256';

export type ApiHarness = {
  url: string;
  bus: MemoryBus;
  egressStore: MemoryEgressStore;
  ingressStore: MemoryIngressStore;
  api: Api;
  token(video: VideoGrant): Promise<string>;
  close(): Promise<void>;
};

/** The real API server on a free port of 127.0.0.1; the workers behind the bus are stand-ins. */
export async function startApiHarness(
  options: { recordingsDir?: string; homeDir?: string; openOnLoopback?: boolean } = {},
): Promise<ApiHarness> {
  const bus = new MemoryBus();
  const egressStore = new MemoryEgressStore();
  const ingressStore = new MemoryIngressStore();
  const api = await startApi({
    bus,
    keys: new Map([[API_KEY, API_SECRET]]),
    logger: createLogger({ level: 'silent' }),
    metrics: createMetrics({ nodeId: 'ND_test', processMetrics: false }),
    port: 0,
    bindAddresses: ['127.0.0.1'],
    mounts: { upgrade: () => false, request: () => false },
    egressStore,
    ingressStore,
    webhooks: silentWebhooks(),
    ingressBaseUrls: () => ({ rtmp: 'rtmp://127.0.0.1:1935/live', whip: 'http://127.0.0.1:8080/w' }),
    recordingsDir: options.recordingsDir ?? '/nonexistent',
    homeDir: options.homeDir ?? '/nonexistent',
    openOnLoopback: options.openOnLoopback ?? false,
    status: () => ({
      name: 'sluice',
      version: '0.0.0',
      dev_keys: false,
      ports: { http: 0, rtmp: 1935, rtc_udp: 7882 },
      services: ['api'],
    }),
    ready: () => ({ ready: true, checks: {} }),
  });
  return {
    url: `http://127.0.0.1:${api.port}`,
    bus,
    egressStore,
    ingressStore,
    api,
    token: (video) => mintToken(API_KEY, API_SECRET, { identity: 'tester', video, ttlS: 60 }),
    close: async () => {
      await api.close('test over');
      await bus.close();
    },
  };
}

/** A room service with one room "studio" and one participant "ada" behind the bus. */
export async function serveStudioRoom(bus: MemoryBus): Promise<void> {
  const room = { sid: 'RM_studio', name: 'studio' };
  const participant = { sid: 'PA_ada', identity: 'ada' };
  const inStudio = (name: string): void => {
    if (name !== room.name) {
      throw new ServiceError('not_found', 'requested room does not exist');
    }
  };
  await Promise.all([
    bus.serve(RoomInternal.createRoom, (request) => Promise.resolve({ sid: 'RM_new', name: request.name })),
    bus.serve(RoomInternal.listRooms, ({ names }) =>
      Promise.resolve({ rooms: names.length === 0 || names.includes(room.name) ? [room] : [] }),
    ),
    bus.serve(RoomInternal.deleteRoom, (request) => {
      inStudio(request.room);
      return Promise.resolve({});
    }),
    bus.serve(RoomInternal.listParticipants, () => Promise.resolve({ participants: [participant] })),
    bus.serve(RoomInternal.getParticipant, () => Promise.resolve(participant)),
    bus.serve(RoomInternal.removeParticipant, () => Promise.resolve({})),
    bus.serve(RoomInternal.mutePublishedTrack, () => Promise.resolve({ track: { muted: true } })),
    bus.serve(RoomInternal.updateParticipant, (request) =>
      Promise.resolve({ identity: request.identity, metadata: request.metadata }),
    ),
    bus.serve(RoomInternal.updateSubscriptions, () => Promise.resolve({})),
    bus.serve(RoomInternal.sendData, () => Promise.resolve({})),
    bus.serve(RoomInternal.updateRoomMetadata, (request) =>
      Promise.resolve({ ...room, metadata: request.metadata }),
    ),
  ]);
}

/** An egress node that accepts every job and does nothing. */
export async function serveIdleEgressNode(bus: MemoryBus): Promise<void> {
  await bus.serve(EgressInternal.startEgress, ({ egressId, roomId, roomName, request }) => {
    const info = new livekit.EgressInfo({ egressId, roomId, roomName, updatedAt: 1n });
    if (request.case !== 'participant' && request.case !== undefined) {
      info.request = request;
    }
    return Promise.resolve(info);
  });
}
