import { EgressInfo } from '@livekit/protocol';
import { ServiceError } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import {
  ENDED_EGRESS_TTL_MS,
  isEnded,
  matchesFilter,
  supersedes,
  type EgressFilter,
  type EgressStore,
} from './egress-store.ts';
import type { RedisConnection } from './redis-connection.ts';
import { compareAndSet, retryWhileContended } from './redis-compare.ts';

/** LiveKit's key layout (livekit-server pkg/service/redisstore.go). */
const EGRESS = 'egress';
const ENDED = 'ended_egress';
const ROOM_PREFIX = 'egress:room:';

/** LiveKit's. */
const SWEEP_INTERVAL_MS = 30 * 60_000;
const NS_PER_MS = 1_000_000;

/**
 * KEYS egress, egress:room:<room>, ended_egress; ARGV id, record as it was read ('' = none), new record,
 * ended_egress value ('' = still running).
 */
const PUT = compareAndSet(`
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('SADD', KEYS[2], ARGV[1])
if ARGV[4] ~= '' then redis.call('HSET', KEYS[3], ARGV[1], ARGV[4]) end`);

/** KEYS as above; ARGV id, the ended_egress value as it was read. */
const FORGET = `
if redis.call('HGET', KEYS[3], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('SREM', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[1], ARGV[1])
return redis.call('HDEL', KEYS[3], ARGV[1])`;

/** Egress records where LiveKit's server keeps and looks for them. Any number of nodes may write. */
export class RedisEgressStore implements EgressStore {
  readonly #connection: RedisConnection;
  readonly #logger: Logger;
  readonly #nowMs: () => number;
  readonly #sweeping: NodeJS.Timeout;

  constructor(connection: RedisConnection, logger: Logger, nowMs: () => number = Date.now) {
    this.#connection = connection;
    this.#logger = logger;
    this.#nowMs = nowMs;
    this.#sweeping = setInterval(() => {
      this.sweep().catch((error: unknown) => {
        this.#logger.warn({ err: error }, 'ended egress records not swept');
      });
    }, SWEEP_INTERVAL_MS).unref();
  }

  put(info: EgressInfo): Promise<boolean> {
    if (info.egressId === '') {
      throw new ServiceError('invalid_argument', 'an egress record needs an egress_id');
    }
    return retryWhileContended(`egress ${info.egressId}`, async () => {
      const bytes = await this.#read(info.egressId);
      const stored = this.#decode(info.egressId, bytes);
      if (stored !== undefined && !supersedes(stored, info)) {
        return false;
      }
      const isStored = await this.#connection.run((redis) =>
        redis.eval(
          PUT,
          3,
          ...keysFor(info.roomName),
          info.egressId,
          bytes ?? '',
          Buffer.from(info.toBinary()),
          isEnded(info.status) ? this.#endedValue(info, stored) : '',
        ),
      );
      return isStored === 1 ? true : undefined;
    });
  }

  async get(egressId: string): Promise<EgressInfo | undefined> {
    return this.#decode(egressId, await this.#read(egressId));
  }

  async list(filter: EgressFilter): Promise<EgressInfo[]> {
    const records = await this.#records(filter);
    return records
      .filter((info) => matchesFilter(info, filter))
      .sort((a, b) => Number(b.startedAt - a.startedAt) || (a.egressId < b.egressId ? 1 : -1));
  }

  /** Forgets what ended more than a day ago. Every node may do it; runs by itself every half hour. */
  async sweep(): Promise<void> {
    const limitNs = (this.#nowMs() - ENDED_EGRESS_TTL_MS) * NS_PER_MS;
    const ended = await this.#connection.run((redis) => redis.hgetall(ENDED));
    for (const [egressId, value] of Object.entries(ended)) {
      const { roomName, endedAtNs } = parseEnded(value);
      if (endedAtNs < limitNs) {
        await this.#connection.run((redis) => redis.eval(FORGET, 3, ...keysFor(roomName), egressId, value));
      }
    }
  }

  close(): Promise<void> {
    clearInterval(this.#sweeping);
    return Promise.resolve();
  }

  #read(egressId: string): Promise<Buffer | null> {
    return this.#connection.run((redis) => redis.hgetBuffer(EGRESS, egressId));
  }

  async #records({ egressId, roomName }: EgressFilter): Promise<EgressInfo[]> {
    let found: [egressId: string, bytes: Buffer | null][];
    if (egressId !== undefined) {
      found = [[egressId, await this.#read(egressId)]];
    } else if (roomName !== undefined) {
      const ids = await this.#connection.run((redis) => redis.smembers(ROOM_PREFIX + roomName));
      const values =
        ids.length === 0 ? [] : await this.#connection.run((redis) => redis.hmgetBuffer(EGRESS, ...ids));
      found = ids.map((id, index) => [id, values[index] ?? null]);
    } else {
      found = Object.entries(await this.#connection.run((redis) => redis.hgetallBuffer(EGRESS)));
    }
    return found
      .map(([id, bytes]) => this.#decode(id, bytes))
      .filter((info): info is EgressInfo => info !== undefined);
  }

  /** A record nobody can read must not hide the others. */
  #decode(egressId: string, bytes: Buffer | null): EgressInfo | undefined {
    if (bytes === null) {
      return undefined;
    }
    try {
      return EgressInfo.fromBinary(bytes);
    } catch (error) {
      this.#logger.error({ err: error, egressId }, 'stored egress record cannot be decoded');
      return undefined;
    }
  }

  #endedValue(info: EgressInfo, stored: EgressInfo | undefined): string {
    const endedAtNs = info.endedAt || stored?.endedAt || BigInt(this.#nowMs()) * BigInt(NS_PER_MS);
    return `${info.roomName}|${endedAtNs}`;
  }
}

function keysFor(roomName: string): [string, string, string] {
  return [EGRESS, ROOM_PREFIX + roomName, ENDED];
}

/** "<room>|<ns>"; a room name may hold the separator, the number cannot. */
function parseEnded(value: string): { roomName: string; endedAtNs: number } {
  const separator = value.lastIndexOf('|');
  return { roomName: value.slice(0, separator), endedAtNs: Number(value.slice(separator + 1)) };
}
