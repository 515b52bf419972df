import { messageOf, ServiceError } from '../base/errors.ts';

/** Redis itself asks to come back later: it loads its data, is a replica after a failover, or is full. */
const PASSING = /^(LOADING|MASTERDOWN|READONLY|CLUSTERDOWN|TRYAGAIN|BUSY|OOM|NOREPLICAS)\b/;

/** Trying again with the same password is of no use. */
export function isRefusedSignIn(error: unknown): boolean {
  return /^(WRONGPASS|NOAUTH|ERR invalid password|ERR AUTH)\b/.test(messageOf(error));
}

/** The connection was already broken, which ioredis knew and we did not yet: safe to try again. */
export function wasNotSent(error: unknown): boolean {
  return messageOf(error).startsWith("Stream isn't writeable");
}

/** Also after a failover, when this server became a replica. */
export function mustReconnect(error: unknown): boolean {
  return wasNotSent(error) || messageOf(error).startsWith('READONLY');
}

/**
 * What a failed connection or command means to a caller. The text has the address and Redis's own words, which
 * never hold a password.
 * @param what happened to "Redis at <address>" when it did not answer at all.
 */
export function redisError(address: string, error: unknown, what: string): ServiceError {
  if (error instanceof ServiceError) {
    return error;
  }
  const reason = messageOf(error);
  if (isRefusedSignIn(error)) {
    return new ServiceError(
      'unauthenticated',
      `Redis at ${address} refused redis.username and redis.password: ${reason}`,
      { scope: 'node', blame: 'destination', cause: error },
    );
  }
  if (error instanceof Error && error.name === 'ReplyError' && !PASSING.test(reason)) {
    return new ServiceError('internal', `Redis at ${address} refused a command: ${reason}`, {
      scope: 'node',
      blame: 'destination',
      cause: error,
    });
  }
  return new ServiceError('unavailable', `Redis at ${address} ${what}: ${reason}`, {
    scope: 'node',
    blame: 'destination',
    cause: error,
  });
}

export function connectionLost(address: string, cause: unknown): ServiceError {
  return new ServiceError('unavailable', `no connection to Redis at ${address}: ${messageOf(cause)}`, {
    scope: 'node',
    blame: 'destination',
  });
}
