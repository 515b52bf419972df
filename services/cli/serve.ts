import * as livekit from '@livekit/protocol';
import { createLogger, LOG_FORMAT_VARIABLE } from '../base/logger.ts';
import { createIngress } from '../api/ingress-api.ts';
import { parseFlags, type CliCommand } from './command.ts';
import { compose, type RunningSluice } from './compose.ts';
import { CONFIG_FLAGS, CONFIG_FLAGS_USAGE, loadFromFlags } from './config-flags.ts';
import { banner, workerBanner } from './banner.ts';
import { baseUrls } from './ingress-urls.ts';
import { checkRole, readRole, toolsOf } from './roles.ts';
import { untilSignal } from './signals.ts';
import { findTools } from './tools.ts';

/** The room and identity of the endpoint that waits for OBS right after the first start. */
export const READY_MADE = { name: 'OBS', room: 'demo', identity: 'obs' } as const;

export const serveCommand: CliCommand = {
  name: 'serve',
  summary: 'run rooms, ingress, egress and API in this process, or one of them',
  usage: `serve [all|server|ingress|egress] [flags]\n${CONFIG_FLAGS_USAGE}`,
  async run(args) {
    const [word, ...rest] = args;
    const hasRole = word !== undefined && !word.startsWith('-');
    const role = readRole(hasRole ? word : undefined);
    const loaded = await loadFromFlags(parseFlags(hasRole ? rest : args, CONFIG_FLAGS));
    checkRole(role, loaded.config, loaded.devKeys);
    if (process.stderr.isTTY) {
      process.env[LOG_FORMAT_VARIABLE] ??= 'text';
    }
    const logger = createLogger({ level: loaded.config.logging.level });
    logger.info({ source: loaded.source }, 'configuration loaded');
    const signal = untilSignal();
    const tools = await findTools(logger, toolsOf(role));
    if (signal.isReceived()) {
      // Ctrl-C also ended the programs that were just being probed; their silence means nothing.
      return 0;
    }
    const sluice = await compose({ ...loaded, role, logger, tools });
    const { limits } = tools.summary;
    if (role === 'ingress' || role === 'egress') {
      process.stdout.write(workerBanner({ sluice, limits }));
    } else {
      const canPush = baseUrls(sluice.urls).rtmp !== '';
      const isFirstStart = loaded.devKeys && role === 'all';
      const ingress = isFirstStart && canPush ? await readyMadeIngress(sluice) : undefined;
      process.stdout.write(banner({ sluice, ingress, devKeys: loaded.devKeys, limits }));
    }
    const cause = await signal.received;
    // As LiveKit's workers: SIGTERM lets running work end by itself, SIGINT ends it (and keeps what there is).
    if (cause === 'SIGTERM' && (role === 'ingress' || role === 'egress')) {
      process.stdout.write(
        '\nDraining: running work ends by itself, new work goes elsewhere. SIGINT ends it.\n',
      );
      await Promise.race([sluice.drain(), signal.interrupted]);
    }
    process.stdout.write('\nStopping: running recordings are finished first. Ctrl-C again ends at once.\n');
    await sluice.close(cause);
    process.stdout.write('Stopped.\n');
    return 0;
  },
};

/** The one of an earlier start is taken again where records outlive the process. */
async function readyMadeIngress(sluice: RunningSluice): Promise<livekit.IngressInfo> {
  const existing = (await sluice.ingressStore.list(READY_MADE.room)).find(
    (info) => info.name === READY_MADE.name && info.participantIdentity === READY_MADE.identity,
  );
  return (
    existing ??
    createIngress(
      { store: sluice.ingressStore, ingressBaseUrls: () => baseUrls(sluice.urls) },
      new livekit.CreateIngressRequest({
        inputType: livekit.IngressInput.RTMP_INPUT,
        name: READY_MADE.name,
        roomName: READY_MADE.room,
        participantIdentity: READY_MADE.identity,
        participantName: READY_MADE.name,
      }),
    )
  );
}
