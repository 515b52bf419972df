import { IngressInput, TrackSource } from '@livekit/protocol';
import type { Logger } from '../../services/base/logger.ts';
import { startIngressHarness, type IngressHarness, type IngressHarnessOptions } from './ingress-harness.ts';
import { API_KEY, API_SECRET, startSfuServer, type SfuServer, type SfuServerOptions } from './sfu-server.ts';

export type WhipServices = { sfu: SfuServer; harness: IngressHarness; close(): Promise<void> };
export type WhipServicesOptions = {
  logger?: Logger;
  info?: IngressHarnessOptions['info'];
  whipLimits?: IngressHarnessOptions['whipLimits'];
  onRequest?: SfuServerOptions['onRequest'];
  sfuOptions?: NonNullable<SfuServerOptions['sfu']>;
};

/** Real SFU and real ingress on one bus, with the WHIP endpoint IN_test for room "studio". */
export async function startWhipServices(options: WhipServicesOptions = {}): Promise<WhipServices> {
  const logger = options.logger === undefined ? {} : { logger: options.logger };
  const sfu = await startSfuServer({
    ...logger,
    ...(options.onRequest === undefined ? {} : { onRequest: options.onRequest }),
    ...(options.sfuOptions === undefined ? {} : { sfu: options.sfuOptions }),
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
  return {
    sfu,
    harness,
    async close() {
      await harness.close();
      await sfu.close();
    },
  };
}
