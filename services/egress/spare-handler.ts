import type { Logger } from '../base/logger.ts';
import { superviseChild, type SupervisedChild } from '../base/process/supervisor.ts';
import type { FromHandler, ToHandler } from './handler-messages.ts';

export type HandlerProcess = SupervisedChild<ToHandler>;

export type SpareHandlerOptions = {
  /** dist/egress-handler.js */
  handlerEntry: string;
  maxRssBytes: number;
  logger: Logger;
  /** How many wait: 0 = none, every job starts its own. */
  keep: number;
  /** Prepares a spare while it waits; the result is told when the process is gone. */
  warmUp?: (handler: HandlerProcess) => { gone: () => Promise<void> };
};

type Listener = (message: FromHandler) => void;
type Started = { handler: HandlerProcess; listen: (listener: Listener) => void };
type Spare = Started & { removed: Promise<void> };

/**
 * Loading a handler's modules takes longer than joining a room. So one process waits, loaded, for the next job; it is
 * still the process of that job alone. One that dies before is missed by nobody: the next job starts its own.
 */
export class SpareHandler {
  readonly #options: SpareHandlerOptions;
  #spare: Spare | undefined;
  #closed = false;

  constructor(options: SpareHandlerOptions) {
    this.#options = options;
  }

  /** The waiting process, for status pages and tests. */
  get pid(): number | undefined {
    return this.#spare?.handler.pid;
  }

  /** Starts a process unless one waits. Call it when there is time: starting takes half a second of a core. */
  refill(): void {
    if (this.#options.keep === 0 || this.#spare !== undefined || this.#closed) {
      return;
    }
    const started = start(this.#options);
    const { handler } = started;
    const warm = this.#options.warmUp?.(handler);
    const removed = handler.exited.then(async (exit) => {
      if (this.#spare === spare) {
        this.#spare = undefined;
        if (!this.#closed) {
          this.#options.logger.warn({ cause: exit.cause }, 'spare egress handler ended');
        }
      }
      await warm?.gone();
    });
    const spare: Spare = { ...started, removed };
    this.#spare = spare;
  }

  /** The waiting process, or a new one; it belongs to the caller from now on. */
  take(onMessage: Listener): HandlerProcess {
    const { handler, listen } = this.#spare ?? start(this.#options);
    this.#spare = undefined;
    listen(onMessage);
    return handler;
  }

  /** Ends the waiting process and keeps none from now on. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    const spare = this.#spare;
    if (spare !== undefined) {
      void spare.handler.kill(0);
      await spare.removed;
    }
  }
}

function start({ handlerEntry, maxRssBytes, logger }: SpareHandlerOptions): Started {
  let listener: Listener = () => undefined;
  const handler = superviseChild<ToHandler, FromHandler>({
    entry: handlerEntry,
    name: 'egress handler',
    logger,
    maxRssBytes,
    onMessage: (message) => {
      listener(message);
    },
  });
  return {
    handler,
    listen: (next) => {
      listener = next;
    },
  };
}
