import type { EgressInfo } from '@livekit/protocol';
import { messageOf } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import type { Bus } from '../bus/bus.ts';
import { IOInfo } from '../bus/rpc-methods.ts';

const FIRST_RETRY_MS = 250;
const MAX_RETRY_MS = 60_000;
const REQUEST_TIMEOUT_MS = 10_000;

/**
 * Brings the states of one job to IOInfo: only the newest matters, in order, repeated until somebody took it.
 */
export class InfoReporter {
  readonly #bus: Bus;
  readonly #logger: Logger;
  #latest: EgressInfo | undefined;
  #sending: Promise<void> | undefined;
  #retryMs = FIRST_RETRY_MS;
  #wakeRetry: () => void = () => undefined;
  #closed = false;

  constructor(bus: Bus, logger: Logger) {
    this.#bus = bus;
    this.#logger = logger;
  }

  report(info: EgressInfo): void {
    this.#latest = info;
    this.#sending ??= this.#send().finally(() => {
      this.#sending = undefined;
    });
  }

  /** Resolves when nothing is left to send. */
  async flush(): Promise<void> {
    await this.#sending;
  }

  /** One last try for what is left; gives up after it. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#wakeRetry();
    await this.#sending;
  }

  async #send(): Promise<void> {
    while (this.#latest !== undefined) {
      const info = this.#latest;
      this.#latest = undefined;
      try {
        await this.#bus.request(IOInfo.updateEgress, info, { timeoutMs: REQUEST_TIMEOUT_MS });
        this.#retryMs = FIRST_RETRY_MS;
      } catch (error) {
        this.#latest ??= info;
        if (this.#closed) {
          this.#logger.error({ err: error }, 'last egress state could not be reported');
          return;
        }
        this.#logger.warn(
          { reason: messageOf(error), retryMs: this.#retryMs },
          'egress state not reported yet',
        );
        await this.#pause();
      }
    }
  }

  async #pause(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#wakeRetry = resolve;
      setTimeout(resolve, this.#retryMs).unref();
    });
    this.#retryMs = Math.min(this.#retryMs * 2, MAX_RETRY_MS);
  }
}
