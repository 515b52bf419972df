import { IngressInput, TrackSource } from '@livekit/protocol';
import type { Logger } from '../../services/base/logger.ts';
import { startIngressHarness, type IngressHarness, type IngressHarnessOptions } from './ingress-harness.ts';
import { RtcNodeViewer } from './rtc-node-viewer.ts';
import { API_KEY, API_SECRET, startSfuServer, type SfuServer, type SfuServerOptions } from './sfu-server.ts';

export type WhipStage = {
  sfu: SfuServer;
  harness: IngressHarness;
  /** LiveKit's Rust client joins the room. */
  viewer(identity?: string): Promise<RtcNodeViewer>;
  close(): Promise<void>;
};

/** Real SFU and real ingress on one bus, with the WHIP endpoint IN_test for room "studio". */
export async function startWhipStage(
  options: {
    logger?: Logger;
    info?: IngressHarnessOptions['info'];
    whipLimits?: IngressHarnessOptions['whipLimits'];
    onRequest?: SfuServerOptions['onRequest'];
  } = {},
): Promise<WhipStage> {
  const logger = options.logger === undefined ? {} : { logger: options.logger };
  const sfu = await startSfuServer({
    ...logger,
    ...(options.onRequest === undefined ? {} : { onRequest: options.onRequest }),
  });
  const harness = await startIngressHarness({
    ...logger,
    bus: sfu.bus,
    room: { wsUrl: sfu.wsUrl, apiKey: API_KEY, apiSecret: API_SECRET },
    info: {
      inputType: IngressInput.WHIP_INPUT,
      video: { name: 'picture', source: TrackSource.CAMERA },
      audio: { name: 'sound', source: TrackSource.MICROPHONE },
      ...options.info,
    },
    ...(options.whipLimits === undefined ? {} : { whipLimits: options.whipLimits }),
  });
  const viewers: RtcNodeViewer[] = [];
  return {
    sfu,
    harness,
    async viewer(identity = 'viewer') {
      const viewer = new RtcNodeViewer();
      viewers.push(viewer);
      await viewer.join(sfu.wsUrl, await sfu.joinToken(identity, 'studio'));
      return viewer;
    },
    async close() {
      await Promise.all(viewers.map((viewer) => viewer.close()));
      await harness.close();
      await sfu.close();
    },
  };
}
