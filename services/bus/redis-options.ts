import { readFileSync } from 'node:fs';
import type { ConnectionOptions } from 'node:tls';
import type { RedisOptions } from 'ioredis';
import { messageOf, ServiceError } from '../base/errors.ts';
import { DirectConnector, FailoverConnector } from './redis-connectors.ts';

/** The `redis:` section of LiveKit's configuration files, key for key. */
export type RedisConfig = {
  /** host:port, [ipv6]:port, or the path of a unix socket. */
  address?: string | undefined;
  username?: string | undefined;
  password?: string | undefined;
  db?: number | undefined;
  /** TLS with the system's certificates; `tls` says more. */
  use_tls?: boolean | undefined;
  tls?: RedisTlsConfig | undefined;
  sentinel_master_name?: string | undefined;
  sentinel_addresses?: string[] | undefined;
  sentinel_username?: string | undefined;
  sentinel_password?: string | undefined;
  /** Refused: see `readRedisConfig`. */
  cluster_addresses?: string[] | undefined;
};

export type RedisTlsConfig = {
  enabled?: boolean | undefined;
  /** Do not verify the server. */
  insecure?: boolean | undefined;
  server_name?: string | undefined;
  ca_cert_file?: string | undefined;
  client_cert_file?: string | undefined;
  client_key_file?: string | undefined;
};

/** ioredis's own type contradicts its constructor in this one field. */
export type ClientOptions = Omit<RedisOptions, 'replyMapping'>;

export type RedisTarget = {
  /** Where this leads, for logs and errors; never a password. */
  label: string;
  options: ClientOptions;
};

const REDIS_PORT = 6379;
const SENTINEL_PORT = 26_379;
const CONNECT_TIMEOUT_MS = 5_000;
const COMMAND_TIMEOUT_MS = 5_000;

/**
 * Checks the configuration and turns it into what the Redis client needs.
 * @throws ServiceError invalid_argument that names the key; unimplemented for cluster_addresses: the bus counts
 *   the receivers of a message to know at once that nobody serves a request, which one node of a cluster cannot.
 */
export function readRedisConfig(config: RedisConfig): RedisTarget {
  if ((config.cluster_addresses ?? []).length > 0) {
    throw new ServiceError(
      'unimplemented',
      'redis.cluster_addresses is not supported: use redis.address, or redis.sentinel_addresses for failover',
    );
  }
  const { db = 0 } = config;
  if (!Number.isInteger(db) || db < 0) {
    throw invalid('db', 'must be 0 or a positive whole number');
  }
  const tls = readTls(config);
  const common: ClientOptions = {
    ...optional('username', config.username),
    ...optional('password', config.password),
    db,
    ...(tls === undefined ? {} : { tls }),
    // RESP2: known to every Redis since 2.0 and to its look-alikes.
    protocol: 2,
    connectTimeout: CONNECT_TIMEOUT_MS,
    commandTimeout: COMMAND_TIMEOUT_MS,
    // Reconnecting is RedisConnection's, which replaces both connections together.
    retryStrategy: null,
    maxRetriesPerRequest: 0,
    enableOfflineQueue: false,
    autoResubscribe: false,
    autoResendUnfulfilledCommands: false,
    lazyConnect: true,
    connectionName: 'sluice',
  };
  const sentinels = config.sentinel_addresses ?? [];
  return sentinels.length > 0
    ? sentinelTarget(config, sentinels, common)
    : singleTarget(config.address ?? '', common);
}

function singleTarget(address: string, common: ClientOptions): RedisTarget {
  if (address.startsWith('/')) {
    return { label: address, options: { ...common, path: address, Connector: DirectConnector } };
  }
  const { host, port } = parseAddress('address', address, REDIS_PORT);
  return { label: formatAddress(host, port), options: { ...common, host, port, Connector: DirectConnector } };
}

function sentinelTarget(config: RedisConfig, addresses: string[], common: ClientOptions): RedisTarget {
  const name = config.sentinel_master_name ?? '';
  if (name === '') {
    throw invalid('sentinel_master_name', 'is needed with sentinel_addresses');
  }
  const sentinels = addresses.map((address) => parseAddress('sentinel_addresses', address, SENTINEL_PORT));
  const where = sentinels.map(({ host, port }) => formatAddress(host, port)).join(', ');
  return {
    label: `${name} (sentinels ${where})`,
    options: {
      ...common,
      Connector: FailoverConnector,
      name,
      sentinels,
      ...optional('sentinelUsername', config.sentinel_username),
      ...optional('sentinelPassword', config.sentinel_password),
      ...(common.tls === undefined ? {} : { enableTLSForSentinelMode: true, sentinelTLS: common.tls }),
      // One round over all sentinels per attempt; RedisConnection starts the next attempt.
      sentinelRetryStrategy: () => null,
    },
  };
}

function readTls(config: RedisConfig): ConnectionOptions | undefined {
  const { tls } = config;
  if (tls?.enabled !== true) {
    return config.use_tls === true ? { minVersion: 'TLSv1.2' } : undefined;
  }
  const file = (key: keyof RedisTlsConfig, path: string | undefined): Buffer | undefined => {
    try {
      return path === undefined || path === '' ? undefined : readFileSync(path);
    } catch (error) {
      throw invalid(`tls.${key}`, `cannot be read: ${messageOf(error)}`);
    }
  };
  return {
    minVersion: 'TLSv1.2',
    ...optional('ca', file('ca_cert_file', tls.ca_cert_file)),
    ...optional('cert', file('client_cert_file', tls.client_cert_file)),
    ...optional('key', file('client_key_file', tls.client_key_file)),
    ...optional('servername', tls.server_name),
    ...(tls.insecure === true ? { rejectUnauthorized: false } : {}),
  };
}

/** @throws ServiceError naming the key, never more of the value than host and port. */
function parseAddress(key: string, address: string, defaultPort: number): { host: string; port: number } {
  const match = /^(?:\[([0-9A-Fa-f:.%\w]+)\]|([^\s:/@[\]]+))(?::(\d{1,5}))?$/.exec(address.trim());
  const host = match?.[1] ?? match?.[2];
  const port = match?.[3] === undefined ? defaultPort : Number(match[3]);
  if (host === undefined || port < 1 || port > 65_535) {
    throw invalid(key, 'must be host:port');
  }
  return { host, port };
}

function formatAddress(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

function optional<Key extends string, Value>(
  key: Key,
  value: Value | undefined,
): Partial<Record<Key, Value>> {
  return (value === undefined || value === '' ? {} : { [key]: value }) as Partial<Record<Key, Value>>;
}

function invalid(key: string, what: string): ServiceError {
  return new ServiceError('invalid_argument', `redis.${key} ${what}`);
}
