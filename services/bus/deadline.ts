import { ServiceError } from '../base/errors.ts';

export const DEFAULT_REQUEST_TIMEOUT_MS = 10_000;
/** psrpc's callers of multi methods wait this long for everybody. */
export const DEFAULT_MULTI_TIMEOUT_MS = 1_000;

/**
 * Waits for `work`, but not longer than timeoutMs and not after the caller lost interest.
 * @param onTimeout what to throw when time is up; default deadline_exceeded.
 * @throws ServiceError canceled when the signal aborts.
 */
export async function raceDeadline<T>(
  work: Promise<T>,
  timeoutMs: number,
  signal: AbortSignal | undefined,
  onTimeout: () => ServiceError = () => timedOut(timeoutMs),
): Promise<T> {
  let cleanUp = (): void => undefined;
  const deadline = new Promise<never>((_resolve, reject) => {
    const timer = setTimeout(() => reject(onTimeout()), timeoutMs);
    const onAbort = (): void => reject(new ServiceError('canceled', 'request canceled'));
    if (signal?.aborted === true) {
      onAbort();
    }
    signal?.addEventListener('abort', onAbort, { once: true });
    cleanUp = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    };
  });
  try {
    return await Promise.race([work, deadline]);
  } finally {
    cleanUp();
  }
}

export function timedOut(timeoutMs: number): ServiceError {
  return new ServiceError('deadline_exceeded', `no answer within ${timeoutMs} ms`);
}

export function noResponse(): ServiceError {
  return new ServiceError('unavailable', 'no response from servers');
}
