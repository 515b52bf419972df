import { parse } from 'yaml';
import { ServiceError } from '../errors.ts';

type EnvVariable = { path: readonly string[]; read: (value: string, name: string) => unknown };

/**
 * Environment variables that override the file, LiveKit's names first. LIVEKIT_API_KEY + LIVEKIT_API_SECRET
 * and LIVEKIT_CONFIG are handled in `configFromEnv` and load.ts because they are not one value each.
 */
export const ENV_VARIABLES: Readonly<Record<string, EnvVariable>> = {
  LIVEKIT_KEYS: { path: ['keys'], read: readKeys },
  NODE_IP: { path: ['rtc', 'node_ip'], read: readText },
  UDP_PORT: { path: ['rtc', 'udp_port'], read: readInteger },
  SLUICE_TCP_PORT: { path: ['rtc', 'tcp_port'], read: readInteger },
  LIVEKIT_WS_URL: { path: ['ws_url'], read: readText },
  REDIS_HOST: { path: ['redis', 'address'], read: readText },
  REDIS_PASSWORD: { path: ['redis', 'password'], read: readText },
  SLUICE_PORT: { path: ['port'], read: readInteger },
  SLUICE_RTMP_PORT: { path: ['ingress', 'rtmp_port'], read: readInteger },
  SLUICE_WHIP_PORT: { path: ['ingress', 'whip_port'], read: readInteger },
  SLUICE_BIND: { path: ['bind_addresses'], read: (value) => value.split(',').map((item) => item.trim()) },
  SLUICE_RECORDINGS_DIR: { path: ['recordings_dir'], read: readText },
  SLUICE_LOG_LEVEL: { path: ['logging', 'level'], read: readText },
};

export type Environment = Readonly<Record<string, string | undefined>>;
export type ConfigOverride = { path: readonly string[]; value: unknown; from: string };

/** What the environment overrides, each with the name it came from. @throws ServiceError invalid_argument. */
export function configFromEnv(env: Environment): ConfigOverride[] {
  const overrides: ConfigOverride[] = [];
  for (const [name, variable] of Object.entries(ENV_VARIABLES)) {
    const value = env[name];
    if (value !== undefined && value !== '') {
      overrides.push({ path: variable.path, value: variable.read(value, name), from: name });
    }
  }
  const { LIVEKIT_API_KEY: key, LIVEKIT_API_SECRET: secret } = env;
  if (key !== undefined && key !== '' && secret !== undefined && secret !== '') {
    overrides.push({ path: ['keys', key], value: secret, from: 'LIVEKIT_API_KEY' });
  }
  return overrides;
}

/** `LIVEKIT_KEYS="key: secret"`, one pair per line. */
function readKeys(value: string, name: string): Record<string, string> {
  const parsed: unknown = parse(value);
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    throw new ServiceError('invalid_argument', `${name}: expected "key: secret", one pair per line`);
  }
  return Object.fromEntries(Object.entries(parsed).map(([key, secret]) => [key, String(secret)]));
}

function readInteger(value: string, name: string): number {
  if (!/^\d+$/.test(value)) {
    throw new ServiceError('invalid_argument', `${name}: expected a whole number`);
  }
  return Number(value);
}

function readText(value: string): string {
  return value;
}
