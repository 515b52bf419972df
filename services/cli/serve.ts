import * as livekit from '@livekit/protocol';
import { createLogger, LOG_FORMAT_VARIABLE } from '../base/logger.ts';
import { createIngress } from '../api/ingress-api.ts';
import { parseFlags, type CliCommand } from './command.ts';
import { compose, type RunningSluice } from './compose.ts';
import { CONFIG_FLAGS, CONFIG_FLAGS_USAGE, loadFromFlags } from './config-flags.ts';
import { banner } from './banner.ts';
import { untilSignal } from './signals.ts';
import { findTools } from './tools.ts';

/** The room and identity of the endpoint that waits for OBS right after the first start. */
export const READY_MADE = { name: 'OBS', room: 'demo', identity: 'obs' } as const;

export const serveCommand: CliCommand = {
  name: 'serve',
  summary: 'run rooms, ingress, egress and API in this process',
  usage: `serve [flags]\n${CONFIG_FLAGS_USAGE}`,
  async run(args) {
    const loaded = await loadFromFlags(parseFlags(args, CONFIG_FLAGS));
    if (process.stderr.isTTY) {
      process.env[LOG_FORMAT_VARIABLE] ??= 'text';
    }
    const logger = createLogger({ level: loaded.config.logging.level });
    logger.info({ source: loaded.source }, 'configuration loaded');
    const signal = untilSignal();
    const tools = await findTools(logger);
    if (signal.isReceived()) {
      // Ctrl-C also ended the programs that were just being probed; their silence means nothing.
      return 0;
    }
    const sluice = await compose({ ...loaded, logger, tools });
    const ingress = loaded.devKeys ? await createReadyMadeIngress(sluice) : undefined;
    process.stdout.write(banner({ sluice, ingress, devKeys: loaded.devKeys, limits: tools.summary.limits }));
    const cause = await signal.received;
    process.stdout.write('\nStopping: running recordings are finished first. Ctrl-C again ends at once.\n');
    await sluice.close(cause);
    process.stdout.write('Stopped.\n');
    return 0;
  },
};

function createReadyMadeIngress(sluice: RunningSluice): Promise<livekit.IngressInfo> {
  return createIngress(
    { store: sluice.ingressStore, rtmpBaseUrl: () => sluice.urls.rtmp },
    new livekit.CreateIngressRequest({
      inputType: livekit.IngressInput.RTMP_INPUT,
      name: READY_MADE.name,
      roomName: READY_MADE.room,
      participantIdentity: READY_MADE.identity,
      participantName: READY_MADE.name,
    }),
  );
}
