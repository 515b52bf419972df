import path from 'node:path';
import { ServiceError } from '../base/errors.ts';
import { createLogger } from '../base/logger.ts';
import { integerFlag, parseFlags, UsageError, type CliCommand } from './command.ts';
import { compose, DIST_DIR, type RunningSluice } from './compose.ts';
import { CONFIG_FLAGS, CONFIG_FLAGS_USAGE, loadFromFlags } from './config-flags.ts';
import { say } from './console.ts';
import { runDemo } from './demo-run.ts';
import { untilSignal } from './signals.ts';
import { findTools } from './tools.ts';

const DEFAULT_SECONDS = 8;

/** All of Sluice from end to end, through nothing but LiveKit's protocol: RTMP and WHIP in, room, every egress out. */
export const demoCommand: CliCommand = {
  name: 'demo',
  summary: 'stream into a room by RTMP and WHIP, record and restream it in every way, check the results',
  usage: `demo [--url http://127.0.0.1:7880] [--seconds N] [--via-platform] [flags]
  --url URL           use this server; default: the one running here, else start one for the demo
  --seconds N         length of each recording (default ${DEFAULT_SECONDS})
  --via-platform      send the RTMP stream through node-media-server, which pushes it on like a streaming platform
${CONFIG_FLAGS_USAGE}`,
  async run(args) {
    const flags = parseFlags(args, {
      ...CONFIG_FLAGS,
      url: { type: 'string' },
      seconds: { type: 'string' },
      'via-platform': { type: 'boolean' },
    });
    const seconds = integerFlag('seconds', flags.seconds, 3, 3600) ?? DEFAULT_SECONDS;
    const loaded = await loadFromFlags(flags);
    const [pair] = Object.entries(loaded.config.keys);
    if (pair === undefined) {
      throw new UsageError('no API key is configured');
    }
    const logger = createLogger({ level: 'error' });
    const tools = await findTools(logger);
    const abort = new AbortController();
    void untilSignal().received.then(() =>
      abort.abort(new ServiceError('canceled', 'the demo was interrupted')),
    );
    const url = flags.url ?? `http://127.0.0.1:${loaded.config.port}`;
    let own: RunningSluice | undefined;
    if (flags.url === undefined && !(await isRunning(url))) {
      say(`no server at ${url}: starting one for the demo`);
      const ports = { port: 0, rtc: { ...loaded.config.rtc, udp_port: 0, tcp_port: 0 } };
      const ingress = { ...loaded.config.ingress, rtmp_port: 0, whip_port: 0 };
      own = await compose({
        ...loaded,
        role: 'all',
        config: { ...loaded.config, ...ports, ingress },
        logger,
        tools,
      });
    }
    try {
      const access = { url: own?.urls.api ?? url, apiKey: pair[0], apiSecret: pair[1] };
      return await runDemo({
        access,
        serverStays: own === undefined,
        tools,
        templatesDir: path.join(DIST_DIR, 'templates'),
        seconds,
        viaPlatform: flags['via-platform'] === true,
        signal: abort.signal,
      });
    } finally {
      await own?.close('demo over');
    }
  },
};

async function isRunning(url: string): Promise<boolean> {
  try {
    const answer = await fetch(`${url}/status`, { signal: AbortSignal.timeout(2000) });
    return ((await answer.json()) as { name?: string }).name === 'sluice';
  } catch {
    return false;
  }
}
