import { ServiceError } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';

/**
 * What a caller gets to know when a handler throws: our own errors as they are; of anything else only that it
 * happened, because its text was not written for callers. The log has it.
 */
export function handlerError(
  error: unknown,
  { service, method }: { service: string; method: string },
  logger: Logger | undefined,
): ServiceError {
  if (error instanceof ServiceError) {
    return error;
  }
  logger?.error({ err: error, service, method }, 'bus handler failed');
  return new ServiceError('internal', 'internal error', { cause: error });
}
