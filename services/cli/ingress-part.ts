import type { Config } from '../base/config/schema.ts';
import type { Logger } from '../base/logger.ts';
import type { Metrics } from '../base/metrics/metrics.ts';
import type { Bus } from '../bus/bus.ts';
import { createLeases } from '../bus/leases.ts';
import type { IngressCpuCost } from '../ingress/admission.ts';
import { startIngress, type Ingress } from '../ingress/ingress-service.ts';
import type { LocalMedia } from '../media/rtp/local-media.ts';
import { mediaBindAddress } from './addresses.ts';
import { portUnlessOff } from './ingress-urls.ts';
import type { PartList } from './part-list.ts';
import { rtmpsOptions } from './rtmps.ts';
import { countPublishing, observePacketLatency } from './service-metrics.ts';
import { srtOptions } from './srt.ts';
import type { Tools } from './tools.ts';
import { urlInputOptions } from './url-input.ts';

export type IngressPartOptions = {
  config: Config;
  nodeId: string;
  bus: Bus;
  logger: Logger;
  metrics: Metrics;
  tools: Tools;
  room: { wsUrl: string; apiKey: string; apiSecret: string };
  localMedia: LocalMedia;
  parts: PartList;
};

/** An ingress node: listens for encoders, and plays URLs. */
export async function startIngressPart(options: IngressPartOptions): Promise<Ingress> {
  const { config, nodeId, bus, logger, metrics, tools, room, localMedia } = options;
  const whipPort = portUnlessOff(config.ingress.whip_port);
  const leases = createLeases(bus, 'ingress', { nodeId, logger });
  const ingress = await startIngress({
    ...{ bus, leases, room, localMedia },
    logger: logger.child({ service: 'ingress' }),
    rtmp: {
      port: portUnlessOff(config.ingress.rtmp_port),
      bindAddress: mediaBindAddress(config),
      policy: {
        reconnectWindowMs: config.ingress.reconnect_window * 1000,
        duplicateKey: config.ingress.duplicate_key,
        maxLatencyMs: config.ingress.max_latency_ms,
      },
      slates: { files: config.ingress.slates, byDefault: config.ingress.slate },
    },
    ...(await rtmpsOptions(config)),
    srt: srtOptions(config, tools),
    url: await urlInputOptions(config),
    ffprobePath: tools.ffprobePath,
    cpuCost: cpuCostOf(config),
    maxCpuUtilization: config.ingress.max_cpu_utilization,
    onPublishResult: countPublishing(metrics),
    onPacketLatency: observePacketLatency(metrics),
    whip: whipPort === undefined ? undefined : { port: whipPort, bindAddress: mediaBindAddress(config) },
    ffmpegPath: tools.ffmpegPath,
  }).catch(async (error: unknown) => {
    await leases.close();
    throw error;
  });
  options.parts.add('ingress', {
    close: async (cause: string) => {
      await ingress.close(cause);
      await leases.close();
    },
  });
  return ingress;
}

function cpuCostOf({ ingress: { cpu_cost: cost } }: Config): IngressCpuCost {
  return {
    rtmp: cost.rtmp,
    rtmpTranscoding: cost.rtmp_transcoding,
    srt: cost.srt,
    whip: cost.whip,
    whipBypassTranscoding: cost.whip_bypass_transcoding,
    url: cost.url,
    urlTranscoding: cost.url_transcoding,
  };
}
