import { setTimeout as delay } from 'node:timers/promises';
import { messageOf, ServiceError } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';

export type UploadQueueOptions = {
  /** What may wait; more means that the storage cannot keep up. */
  maxWaiting: number;
  logger: Logger;
  /** Once: nothing is uploaded any more, what waits stays where it is. */
  onFailed: (error: ServiceError) => void;
  /** How long a storage that is away is waited for while the job runs, and after its end. */
  retryForMs?: number;
  retryAtEndMs?: number;
  firstRetryMs?: number;
};

const RETRY_FOR_MS = 15 * 60_000;
const RETRY_AT_END_MS = 60_000;
const FIRST_RETRY_MS = 1_000;
const MAX_RETRY_MS = 15_000;

/** Uploads one after the other, in the order they were added; failures that may pass are tried again. */
export class UploadQueue {
  readonly #options: UploadQueueOptions;
  readonly #waiting: (() => Promise<void>)[] = [];
  /** Ends a pause between two tries early. */
  #hurry = new AbortController();
  #deadlineMs = Infinity;
  #error: ServiceError | undefined;
  #running: Promise<void> | undefined;

  constructor(options: UploadQueueOptions) {
    this.#options = options;
  }

  get error(): ServiceError | undefined {
    return this.#error;
  }

  /** Never throws; after a failure nothing is taken. */
  add(upload: () => Promise<void>): void {
    if (this.#error !== undefined) {
      return;
    }
    if (this.#waiting.length >= this.#options.maxWaiting) {
      this.#fail(
        new ServiceError('internal', 'upload queue full: the storage cannot keep up', {
          blame: 'destination',
        }),
      );
      return;
    }
    this.#waiting.push(upload);
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
    });
  }

  /** Resolves when everything is uploaded or nothing more will be; never rejects. */
  async finish(): Promise<void> {
    this.#deadlineMs = performance.now() + (this.#options.retryAtEndMs ?? RETRY_AT_END_MS);
    this.#endPause();
    await this.#running;
  }

  /** Gives up at once. */
  async close(): Promise<void> {
    this.#waiting.length = 0;
    this.#deadlineMs = 0;
    this.#endPause();
    await this.#running;
  }

  #endPause(): void {
    this.#hurry.abort();
    this.#hurry = new AbortController();
  }

  async #run(): Promise<void> {
    for (;;) {
      const upload = this.#waiting.shift();
      if (upload === undefined || this.#error !== undefined) {
        return;
      }
      await this.#try(upload).catch((error: unknown) => {
        this.#fail(ServiceError.from(error));
      });
    }
  }

  async #try(upload: () => Promise<void>): Promise<void> {
    const { logger, retryForMs = RETRY_FOR_MS, firstRetryMs = FIRST_RETRY_MS } = this.#options;
    const giveUpMs = performance.now() + retryForMs;
    for (let waitMs = firstRetryMs; ; waitMs = Math.min(waitMs * 2, MAX_RETRY_MS)) {
      try {
        await upload();
        return;
      } catch (error) {
        const isPassing = error instanceof ServiceError && error.retryable;
        if (!isPassing || performance.now() + waitMs > Math.min(giveUpMs, this.#deadlineMs)) {
          throw error;
        }
        logger.warn({ reason: messageOf(error), waitMs }, 'upload failed, trying again');
        await delay(waitMs, undefined, { signal: this.#hurry.signal }).catch(() => undefined);
      }
    }
  }

  #fail(error: ServiceError): void {
    if (this.#error === undefined) {
      this.#error = error;
      this.#waiting.length = 0;
      this.#options.logger.error({ err: error }, 'upload given up');
      this.#options.onFailed(error);
    }
  }
}
