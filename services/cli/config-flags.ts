import { loadConfig, type LoadedConfig } from '../base/config/load.ts';
import type { ConfigOverride } from '../base/config/env.ts';
import { OFF } from '../base/config/sections/fields.ts';
import { integerFlag } from './command.ts';

/** Flags every command that runs or reads a server configuration takes. */
export const CONFIG_FLAGS = {
  config: { type: 'string' },
  port: { type: 'string' },
  'rtmp-port': { type: 'string' },
  'whip-port': { type: 'string' },
  'udp-port': { type: 'string' },
  'tcp-port': { type: 'string' },
  bind: { type: 'string' },
  'node-ip': { type: 'string' },
  recordings: { type: 'string' },
} as const;

export const CONFIG_FLAGS_USAGE = `  --config FILE       YAML configuration (docker/config.sample.yaml lists every key)
  --port N            HTTP and WebSocket port, 0 = any free port
  --rtmp-port=N       RTMP port, 0 = any free port, -1 = off
  --whip-port=N       WHIP port, 0 = any free port, -1 = off
  --udp-port N        WebRTC media port, 0 = any free port
  --tcp-port N        WebRTC media over TCP, 0 = off
  --bind ADDRESS      address to listen on
  --node-ip ADDRESS   address offered to WebRTC clients
  --recordings DIR    folder for recordings`;

type FlagValues = { [Name in keyof typeof CONFIG_FLAGS]?: string | undefined };

const MAX_PORT = 65_535;

/** The configuration after file, environment and flags. @throws UsageError | ServiceError. */
export function loadFromFlags(flags: FlagValues): Promise<LoadedConfig> {
  const overrides: ConfigOverride[] = [];
  const set = (flag: string, path: string[], value: unknown): void => {
    if (value !== undefined) {
      overrides.push({ path, value, from: `--${flag}` });
    }
  };
  set('port', ['port'], integerFlag('port', flags.port, 0, MAX_PORT));
  set('rtmp-port', ['ingress', 'rtmp_port'], integerFlag('rtmp-port', flags['rtmp-port'], OFF, MAX_PORT));
  set('whip-port', ['ingress', 'whip_port'], integerFlag('whip-port', flags['whip-port'], OFF, MAX_PORT));
  set('udp-port', ['rtc', 'udp_port'], integerFlag('udp-port', flags['udp-port'], 0, MAX_PORT));
  set('tcp-port', ['rtc', 'tcp_port'], integerFlag('tcp-port', flags['tcp-port'], 0, MAX_PORT));
  set('bind', ['bind_addresses'], flags.bind === undefined ? undefined : [flags.bind]);
  set('node-ip', ['rtc', 'node_ip'], flags['node-ip']);
  set('recordings', ['recordings_dir'], flags.recordings);
  return loadConfig({
    env: process.env,
    overrides,
    ...(flags.config === undefined ? {} : { file: flags.config }),
  });
}
