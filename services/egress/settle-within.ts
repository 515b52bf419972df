import type { Logger } from '../base/logger.ts';

/** Waits for work that may fail or hang; both are logged, neither stops the caller. */
export async function settleWithin(
  work: Promise<void>,
  timeoutMs: number,
  logger: Logger,
  what: string,
): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<void>((resolve) => {
    timer = setTimeout(() => {
      logger.error({ what, timeoutMs }, 'gave up waiting');
      resolve();
    }, timeoutMs);
  });
  try {
    await Promise.race([
      work.catch((error: unknown) => {
        logger.error({ err: error, what }, 'did not end cleanly');
      }),
      deadline,
    ]);
  } finally {
    clearTimeout(timer);
  }
}
