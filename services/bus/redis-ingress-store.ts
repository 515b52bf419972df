import { IngressInfo, IngressState } from '@livekit/protocol';
import { ServiceError } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import { isNewerState, stateAfterPut, type IngressStore } from './ingress-store.ts';
import type { RedisConnection } from './redis-connection.ts';
import { compareAndSet, retryWhileContended } from './redis-compare.ts';

/** LiveKit's key layout (livekit-server pkg/service/redisstore.go). */
const INGRESS = 'ingress';
const STREAM_KEYS = '{ingress}_stream_key';
const STATE_PREFIX = '{ingress}_state:';
const ROOM_PREFIX = 'room_{ingress}:';

/**
 * KEYS ingress, stream keys, set of the old room, set of the new room, state; ARGV id, record as it was read
 * ('' = none), new record, old stream key, new stream key, old room, new room, state as it was read, new state.
 */
const PUT = `
if (redis.call('GET', KEYS[5]) or '') ~= ARGV[8] then return 0 end
${compareAndSet(`
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
if ARGV[4] ~= '' and ARGV[4] ~= ARGV[5] then redis.call('HDEL', KEYS[2], ARGV[4]) end
if ARGV[5] ~= '' then redis.call('HSET', KEYS[2], ARGV[5], ARGV[1]) end
if ARGV[6] ~= '' and ARGV[6] ~= ARGV[7] then redis.call('SREM', KEYS[3], ARGV[1]) end
if ARGV[7] ~= '' then redis.call('SADD', KEYS[4], ARGV[1]) end
redis.call('SET', KEYS[5], ARGV[9])`)}`;

/** KEYS ingress, stream keys, set of the room, state; ARGV id, record as it was read, stream key. */
const DELETE = compareAndSet(`
redis.call('HDEL', KEYS[1], ARGV[1])
if ARGV[3] ~= '' then redis.call('HDEL', KEYS[2], ARGV[3]) end
redis.call('SREM', KEYS[3], ARGV[1])
redis.call('DEL', KEYS[4])`);

/** KEYS ingress, state; ARGV id, state as it was read ('' = none or empty), new state. */
const UPDATE_STATE = `
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return -1 end
if (redis.call('GET', KEYS[2]) or '') ~= ARGV[2] then return 0 end
redis.call('SET', KEYS[2], ARGV[3])
return 1`;

/** Ingress endpoints where LiveKit's server keeps and looks for them; the state apart from the configuration. */
export class RedisIngressStore implements IngressStore {
  readonly #connection: RedisConnection;
  readonly #logger: Logger;

  constructor(connection: RedisConnection, logger: Logger) {
    this.#connection = connection;
    this.#logger = logger;
  }

  async put(info: IngressInfo): Promise<void> {
    const { ingressId } = info;
    if (ingressId === '') {
      throw new ServiceError('invalid_argument', 'an ingress needs an ingress_id');
    }
    const record = info.clone();
    delete record.state;
    await retryWhileContended(`ingress ${ingressId}`, async () => {
      const [bytes, stateBytes] = await this.#read(ingressId);
      const stored = this.#decode(ingressId, bytes, stateBytes);
      const state = stateAfterPut(stored?.state, info.state);
      const isStored = await this.#connection.run((redis) =>
        redis.eval(
          PUT,
          5,
          INGRESS,
          STREAM_KEYS,
          ROOM_PREFIX + (stored?.roomName ?? ''),
          ROOM_PREFIX + info.roomName,
          STATE_PREFIX + ingressId,
          ingressId,
          bytes ?? '',
          Buffer.from(record.toBinary()),
          stored?.streamKey ?? '',
          info.streamKey,
          stored?.roomName ?? '',
          info.roomName,
          stateBytes ?? '',
          Buffer.from(state.toBinary()),
        ),
      );
      return isStored === 1 ? true : undefined;
    });
  }

  async get(ingressId: string): Promise<IngressInfo | undefined> {
    return this.#decode(ingressId, ...(await this.#read(ingressId)));
  }

  async getByStreamKey(streamKey: string): Promise<IngressInfo | undefined> {
    const ingressId = await this.#connection.run((redis) => redis.hget(STREAM_KEYS, streamKey));
    return ingressId === null ? undefined : this.get(ingressId);
  }

  async list(roomName?: string): Promise<IngressInfo[]> {
    const ids = await this.#connection.run((redis) =>
      roomName === undefined ? redis.hkeys(INGRESS) : redis.smembers(ROOM_PREFIX + roomName),
    );
    if (ids.length === 0) {
      return [];
    }
    ids.sort();
    const [records, states] = await this.#connection.run((redis) =>
      Promise.all([
        redis.hmgetBuffer(INGRESS, ...ids),
        redis.mgetBuffer(...ids.map((id) => STATE_PREFIX + id)),
      ]),
    );
    return ids
      .map((id, index) => this.#decode(id, records[index] ?? null, states[index] ?? null))
      .filter((info): info is IngressInfo => info !== undefined);
  }

  updateState(ingressId: string, state: IngressState): Promise<'stored' | 'stale' | 'missing'> {
    return retryWhileContended(`state of ingress ${ingressId}`, async () => {
      const [bytes, stateBytes] = await this.#read(ingressId);
      if (bytes === null) {
        return 'missing';
      }
      if (!isNewerState(this.#decodeState(ingressId, stateBytes), state)) {
        return 'stale';
      }
      const outcome = await this.#connection.run((redis) =>
        redis.eval(
          UPDATE_STATE,
          2,
          INGRESS,
          STATE_PREFIX + ingressId,
          ingressId,
          stateBytes ?? '',
          Buffer.from(state.toBinary()),
        ),
      );
      return outcome === 1 ? 'stored' : outcome === -1 ? 'missing' : undefined;
    });
  }

  async delete(ingressId: string): Promise<void> {
    await retryWhileContended(`ingress ${ingressId}`, async () => {
      const [bytes] = await this.#read(ingressId);
      if (bytes === null) {
        return true;
      }
      const stored = this.#decode(ingressId, bytes, null);
      const isDeleted = await this.#connection.run((redis) =>
        redis.eval(
          DELETE,
          4,
          INGRESS,
          STREAM_KEYS,
          ROOM_PREFIX + (stored?.roomName ?? ''),
          STATE_PREFIX + ingressId,
          ingressId,
          bytes,
          stored?.streamKey ?? '',
        ),
      );
      return isDeleted === 1 ? true : undefined;
    });
  }

  #read(ingressId: string): Promise<[record: Buffer | null, state: Buffer | null]> {
    return this.#connection.run((redis) =>
      Promise.all([redis.hgetBuffer(INGRESS, ingressId), redis.getBuffer(STATE_PREFIX + ingressId)]),
    );
  }

  /** A record nobody can read must not hide the others. */
  #decode(ingressId: string, record: Buffer | null, state: Buffer | null): IngressInfo | undefined {
    if (record === null) {
      return undefined;
    }
    try {
      const info = IngressInfo.fromBinary(record);
      info.state = this.#decodeState(ingressId, state) ?? new IngressState();
      return info;
    } catch (error) {
      this.#logger.error({ err: error, ingressId }, 'stored ingress cannot be decoded');
      return undefined;
    }
  }

  #decodeState(ingressId: string, bytes: Buffer | null): IngressState | undefined {
    try {
      return bytes === null ? undefined : IngressState.fromBinary(bytes);
    } catch (error) {
      this.#logger.error({ err: error, ingressId }, 'stored ingress state cannot be decoded');
      return undefined;
    }
  }
}
