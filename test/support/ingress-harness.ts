import { IngressInfo, IngressInput, type IngressState, IngressState_Status } from '@livekit/protocol';
import type { PartialMessage } from '@bufbuild/protobuf';
import { serveIoInfo } from '../../services/api/io-info.ts';
import type { WebhookDispatcher } from '../../services/api/webhooks/webhook-dispatcher.ts';
import { createLogger, type Logger } from '../../services/base/logger.ts';
import { MemoryBus } from '../../services/bus/memory-bus.ts';
import { MemoryEgressStore } from '../../services/bus/egress-store.ts';
import { MemoryIngressStore } from '../../services/bus/ingress-store.ts';
import { startIngress, type Ingress, type IngressOptions } from '../../services/ingress/ingress-service.ts';
import { FakeRoom } from './fake-room.ts';
import { silentWebhooks } from './webhooks.ts';

export const STREAM_KEY = 'k3yThatNobodyMayEverSee';
export const { ENDPOINT_BUFFERING, ENDPOINT_PUBLISHING, ENDPOINT_INACTIVE, ENDPOINT_ERROR } =
  IngressState_Status;

export type IngressHarness = {
  bus: MemoryBus;
  store: MemoryIngressStore;
  ingress: Ingress;
  room: FakeRoom;
  /** rtmp://… with the key of the endpoint IN_test. */
  url: string;
  /** http://…/w, without the key. */
  whipUrl: string;
  /** srt://… with the key of the endpoint IN_test. */
  srtUrl: string;
  /** Every state that was reported, oldest first. */
  states: IngressState[];
  /** Resolves with the first reported state, past or future, that satisfies the condition. */
  stateThat: (condition: (state: IngressState) => boolean) => Promise<IngressState>;
  close(): Promise<void>;
};

export type IngressHarnessOptions = {
  info?: PartialMessage<IngressInfo>;
  logger?: Logger;
  limits?: NonNullable<IngressOptions['rtmp']['limits']>;
  /** Default: sessions end with their encoder. */
  policy?: NonNullable<IngressOptions['rtmp']['policy']>;
  slates?: NonNullable<IngressOptions['rtmp']['slates']>;
  cores?: number;
  onPublishResult?: NonNullable<IngressOptions['onPublishResult']>;
  onPacketLatency?: NonNullable<IngressOptions['onPacketLatency']>;
  /** Serves RTMPS too. */
  rtmps?: { cert: string; key: string };
  /** Serves SRT too. */
  srt?: Partial<NonNullable<IngressOptions['srt']>>;
  whipLimits?: NonNullable<NonNullable<IngressOptions['whip']>['limits']>;
  url?: Partial<IngressOptions['url']>;
  /** The real room client against a real SFU instead of the fake room. */
  room?: IngressOptions['room'];
  localMedia?: NonNullable<IngressOptions['localMedia']>;
  /** Default: nobody is told anything. */
  webhooks?: WebhookDispatcher;
  /** Shared with an SFU: WHIP sessions are reported over it. Closed by its owner. */
  bus?: MemoryBus;
};

/** The real ingress service with the real record keeping, publishing into a fake room unless one is given. */
export async function startIngressHarness(options: IngressHarnessOptions = {}): Promise<IngressHarness> {
  const logger =
    options.logger ?? createLogger({ level: (process.env['TEST_LOG'] as 'info' | undefined) ?? 'silent' });
  const bus = options.bus ?? new MemoryBus();
  const store = new MemoryIngressStore();
  const unregister = await serveIoInfo({
    bus,
    egressStore: new MemoryEgressStore(),
    ingressStore: store,
    webhooks: options.webhooks ?? silentWebhooks(),
    logger,
  });
  await store.put(
    new IngressInfo({
      ingressId: 'IN_test',
      streamKey: STREAM_KEY,
      inputType: IngressInput.RTMP_INPUT,
      roomName: 'studio',
      participantIdentity: 'obs',
      participantName: 'OBS',
      participantMetadata: '{"role":"host"}',
      enabled: true,
      reusable: true,
      ...options.info,
    }),
  );
  const states: IngressState[] = [];
  const watchers = new Set<() => void>();
  const updateState = store.updateState.bind(store);
  store.updateState = async (ingressId, state) => {
    const outcome = await updateState(ingressId, state);
    states.push(state.clone());
    watchers.forEach((watcher) => {
      watcher();
    });
    return outcome;
  };
  const room = new FakeRoom();
  const ingress = await startIngress({
    bus,
    logger,
    rtmp: {
      port: 0,
      bindAddress: '127.0.0.1',
      ...(options.limits === undefined ? {} : { limits: options.limits }),
      policy: { reconnectWindowMs: 0, ...options.policy },
      ...(options.slates === undefined ? {} : { slates: options.slates }),
    },
    ...(options.rtmps === undefined
      ? {}
      : { rtmps: { port: 0, bindAddress: '127.0.0.1', ...options.rtmps } }),
    srt: options.srt && { port: 0, bindAddress: '127.0.0.1', passphrase: '', ...options.srt },
    whip: {
      port: 0,
      bindAddress: '127.0.0.1',
      ...(options.whipLimits === undefined ? {} : { limits: options.whipLimits }),
    },
    room: options.room ?? {
      wsUrl: 'ws://127.0.0.1:1',
      apiKey: 'key',
      apiSecret: 'secret-of-32-characters-or-more!',
    },
    ffmpegPath: process.env['FFMPEG_PATH'] ?? 'ffmpeg',
    ffprobePath: process.env['FFPROBE_PATH'] ?? 'ffprobe',
    url: { allowAddresses: ['127.0.0.0/8'], fileRoot: '', ...options.url },
    ...(options.cores === undefined ? {} : { cores: options.cores }),
    ...(options.onPublishResult === undefined ? {} : { onPublishResult: options.onPublishResult }),
    ...(options.onPacketLatency === undefined ? {} : { onPacketLatency: options.onPacketLatency }),
    ...(options.localMedia === undefined ? {} : { localMedia: options.localMedia }),
    ...(options.room === undefined ? { connectRoom: room.connect } : {}),
  });
  return {
    bus,
    store,
    ingress,
    room,
    url: `rtmp://127.0.0.1:${ingress.rtmpPort}/live/${STREAM_KEY}`,
    whipUrl: `http://127.0.0.1:${ingress.whipPort}/w`,
    srtUrl: `srt://127.0.0.1:${ingress.srtPort}?streamid=${STREAM_KEY}`,
    states,
    stateThat: (condition) =>
      new Promise((resolve) => {
        const watch = (): void => {
          const state = states.find(condition);
          if (state !== undefined) {
            watchers.delete(watch);
            resolve(state);
          }
        };
        watchers.add(watch);
        watch();
      }),
    async close() {
      await ingress.close('test over');
      await unregister();
      if (options.bus === undefined) {
        await bus.close();
      }
    },
  };
}
