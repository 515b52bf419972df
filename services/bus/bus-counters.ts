import { messageOf } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';

/** What the bus dropped, by reason; a metric label. */
export type DropReason =
  /** Bytes that are no frame of the kind the channel carries. */
  | 'malformed'
  | 'oversized'
  /** Came after its expiry. */
  | 'expired'
  /** More requests at once than this process takes. */
  | 'overload'
  /** An answer nobody could be given: no connection, or too large. */
  | 'undelivered';

const LOG_PAUSE_MS = 10_000;

/** Counts what is dropped and logs it, but never faster than a person can read. */
export class BusCounters {
  readonly #logger: Logger;
  readonly #dropped: Record<DropReason, number> = {
    malformed: 0,
    oversized: 0,
    expired: 0,
    overload: 0,
    undelivered: 0,
  };
  readonly #silentUntilMs = new Map<DropReason, number>();

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  drop(reason: DropReason, channel: string, detail: unknown): void {
    const total = (this.#dropped[reason] += 1);
    if (Date.now() < (this.#silentUntilMs.get(reason) ?? 0)) {
      return;
    }
    this.#silentUntilMs.set(reason, Date.now() + LOG_PAUSE_MS);
    this.#logger.warn({ reason, channel, detail: messageOf(detail), total }, 'bus message dropped');
  }

  snapshot(): Record<DropReason, number> {
    return { ...this.#dropped };
  }
}
