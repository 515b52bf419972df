import { messageOf, ServiceError } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import type { Bus } from './bus.ts';
import { RedisBus } from './redis-bus.ts';

const KEY = 'sluice:server';
const TTL_MS = 6_000;
const REFRESH_MS = 2_000;
/** A server that was killed is remembered this long: its successor waits a little longer. */
const WAIT_MS = TTL_MS + 2_000;
const RETRY_MS = 250;

/** KEYS claim; ARGV node id, ttl in ms. The holder, which is us when it worked. */
const CLAIM = `
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return holder end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]`;

const RELEASE = `if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0`;

export type ServerClaim = { close(): Promise<void> };

/**
 * Makes sure that one server alone holds the rooms of a Redis: requests for rooms are not routed between several.
 * @throws ServiceError failed_precondition naming the other server.
 */
export async function claimServer(
  bus: Bus,
  options: { nodeId: string; logger: Logger },
): Promise<ServerClaim> {
  if (!(bus instanceof RedisBus)) {
    return { close: () => Promise.resolve() };
  }
  const { connection } = bus;
  const { nodeId, logger } = options;
  const claim = async (): Promise<string> =>
    String(await connection.run((redis) => redis.eval(CLAIM, 1, KEY, nodeId, TTL_MS)));
  const deadlineMs = Date.now() + WAIT_MS;
  for (let holder = await claim(); holder !== nodeId; holder = await claim()) {
    if (Date.now() > deadlineMs) {
      throw new ServiceError(
        'failed_precondition',
        `another server (${holder}) uses the Redis at ${connection.address}: one server per Redis in this version; give this one a Redis or a redis.db of its own`,
        { scope: 'node' },
      );
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
  const timer = setInterval(() => {
    claim().then(
      (holder) => {
        if (holder !== nodeId) {
          logger.error({ holder }, 'another server took over this Redis');
        }
      },
      (error: unknown) => {
        logger.warn({ reason: messageOf(error) }, 'claim on Redis not refreshed');
      },
    );
  }, REFRESH_MS).unref();
  return {
    close: async () => {
      clearInterval(timer);
      await connection.run((redis) => redis.eval(RELEASE, 1, KEY, nodeId)).catch(() => undefined);
    },
  };
}
