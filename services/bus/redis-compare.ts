import { ServiceError } from '../base/errors.ts';

/** Each failed try means that somebody else's write succeeded, so this many in a row mean something is wrong. */
const MAX_TRIES = 100;

/**
 * A Lua script that writes only if a hash field still holds what the caller read before deciding: rules about
 * protobuf records cannot run inside Redis. KEYS[1] is the hash, ARGV[1] the field, ARGV[2] what was read
 * ('' = nothing). Returns 1 when it wrote, 0 when somebody was faster.
 */
export function compareAndSet(write: string): string {
  return `
local stored = redis.call('HGET', KEYS[1], ARGV[1])
if (stored or '') ~= ARGV[2] then return 0 end
${write}
return 1`;
}

/**
 * Reads, decides and writes again while others write in between.
 * @param attempt returns undefined when somebody was faster.
 * @throws ServiceError aborted, which does not happen unless a record changes all the time.
 */
export async function retryWhileContended<T>(
  what: string,
  attempt: () => Promise<T | undefined>,
): Promise<T> {
  for (let tries = 0; tries < MAX_TRIES; tries += 1) {
    const result = await attempt();
    if (result !== undefined) {
      return result;
    }
  }
  throw new ServiceError('aborted', `${what} changes faster than it can be stored; try again`, {
    blame: 'service',
    retryable: true,
  });
}
