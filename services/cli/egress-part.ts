import { mkdir, mkdtemp, rmdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Config } from '../base/config/schema.ts';
import type { Logger } from '../base/logger.ts';
import type { Bus } from '../bus/bus.ts';
import { createLeases } from '../bus/leases.ts';
import type { CpuCost } from '../egress/admission.ts';
import { startEgress, type EgressService } from '../egress/egress-service.ts';
import type { S3Target } from '../model/egress.ts';
import type { PartList } from './part-list.ts';
import type { Tools } from './tools.ts';

export type EgressPartOptions = {
  config: Config;
  nodeId: string;
  bus: Bus;
  logger: Logger;
  tools: Tools;
  room: { wsUrl: string; apiKey: string; apiSecret: string };
  recordingsDir: string;
  /** Of the built program. */
  distDir: string;
  parts: PartList;
};

/** An egress node: runs recordings, each in a process of its own. */
export async function startEgressPart(options: EgressPartOptions): Promise<EgressService> {
  const { config, distDir } = options;
  const temporary = path.resolve(config.egress.tmp_dir || tmpdir());
  await mkdir(temporary, { recursive: true });
  const workDir = await mkdtemp(path.join(temporary, 'sluice-'));
  const { bus, nodeId, logger } = options;
  const leases = createLeases(bus, 'egress', { nodeId, logger });
  const egress = await startEgress({
    bus,
    leases,
    logger: logger.child({ service: 'egress' }),
    room: options.room,
    tools: options.tools,
    storage: { recordingsDir: options.recordingsDir, ...s3Target(config) },
    tmpDir: workDir,
    handlerEntry: path.join(distDir, 'egress-handler.js'),
    templatesDir: path.join(distDir, 'templates'),
    cpuCost: cpuCostOf(config),
    maxCpuUtilization: config.egress.max_cpu_utilization,
    warmHandlers: config.egress.warm_handlers,
    warmBrowsers: config.egress.warm_browsers,
    twitchIngest: config.egress.twitch_ingest,
  });
  options.parts.add('egress', {
    close: async (cause: string) => {
      await egress.close(cause);
      await leases.close();
      // Only when empty: what could not be stored stays for the operator.
      await rmdir(workDir).catch(() => undefined);
    },
  });
  return egress;
}

function cpuCostOf({ egress: { cpu_cost: cost } }: Config): CpuCost {
  return {
    roomComposite: cost.room_composite,
    web: cost.web,
    audioRoomComposite: cost.audio_room_composite,
    participant: cost.participant,
    trackComposite: cost.track_composite,
    track: cost.track,
  };
}

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
