import { ServiceError } from '../base/errors.ts';

/** What the promise settles with, unless time or the signal comes first. @throws ServiceError deadline_exceeded | canceled. */
export async function withDeadline<T>(
  promise: Promise<T>,
  options: { signal: AbortSignal; timeoutMs: number; message: string },
): Promise<T> {
  const { signal, timeoutMs, message } = options;
  let cleanUp: () => void = () => undefined;
  const limit = new Promise<never>((_resolve, reject) => {
    const timer = setTimeout(() => {
      reject(new ServiceError('deadline_exceeded', message));
    }, timeoutMs);
    const onAbort = (): void => reject(new ServiceError('canceled', 'the attempt was given up'));
    signal.addEventListener('abort', onAbort, { once: true });
    cleanUp = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
    };
    if (signal.aborted) {
      onAbort();
    }
  });
  try {
    return await Promise.race([promise, limit]);
  } finally {
    cleanUp();
  }
}
