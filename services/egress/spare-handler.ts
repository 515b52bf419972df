import { mkdtemp, rm } from 'node:fs/promises';
import path from 'node:path';
import type { Logger } from '../base/logger.ts';
import { superviseChild, type SupervisedChild } from '../base/process/supervisor.ts';
import type { BrowserWish } from './browser/spare-browser.ts';
import type { FromHandler, ToHandler } from './handler-messages.ts';

/** For a browser to end; a process without one ends at once. */
const END_TIMEOUT_MS = 5_000;

export type HandlerProcess = SupervisedChild<ToHandler>;

export type SpareHandlerOptions = {
  /** dist/egress-handler.js */
  handlerEntry: string;
  maxRssBytes: number;
  logger: Logger;
  /** How many wait: 0 = none, every job starts its own. */
  keep: number;
  /** The browser that waits with the process; its profile gets a folder of its own below `tmpDir`. */
  browser?: () => BrowserWish;
};

type Listener = (message: FromHandler) => void;
type Spare = { handler: HandlerProcess; listen: (listener: Listener) => void };

/**
 * Loading a handler's modules takes longer than joining a room. So one process waits, loaded, for the next job; it is
 * still the process of that job alone. One that dies before is missed by nobody: the next job starts its own.
 */
export class SpareHandler {
  readonly #options: SpareHandlerOptions;
  #spare: Spare | undefined;
  #closing: Promise<void> | undefined;

  constructor(options: SpareHandlerOptions) {
    this.#options = options;
  }

  /** The waiting process, for status pages and tests. */
  get pid(): number | undefined {
    return this.#spare?.handler.pid;
  }

  /** Starts a process unless one waits. Call it when there is time: starting takes half a second of a core. */
  refill(): void {
    const { keep, browser, logger } = this.#options;
    if (keep === 0 || this.#spare !== undefined || this.#closing !== undefined) {
      return;
    }
    const spare = start(this.#options, browser?.());
    this.#spare = spare;
    void spare.handler.exited.then(({ cause }) => {
      if (this.#spare === spare) {
        this.#spare = undefined;
        logger.warn({ cause }, 'spare egress handler ended');
      }
    });
  }

  /** The waiting process, or a new one; it belongs to the caller from now on. */
  take(onMessage: Listener): HandlerProcess {
    const { handler, listen } = this.#spare ?? start(this.#options);
    this.#spare = undefined;
    listen(onMessage);
    return handler;
  }

  /** Ends the waiting process and keeps none from now on. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= (async () => {
      const spare = this.#spare;
      this.#spare = undefined;
      await spare?.handler.kill(END_TIMEOUT_MS);
    })();
    return this.#closing;
  }
}

function start({ handlerEntry, maxRssBytes, logger }: SpareHandlerOptions, browser?: BrowserWish): Spare {
  let listener: Listener = () => undefined;
  const child = superviseChild<ToHandler, FromHandler>({
    entry: handlerEntry,
    name: 'egress handler',
    logger,
    maxRssBytes,
    onMessage: (message) => {
      listener(message);
    },
  });
  return {
    handler: browser === undefined ? child : withBrowser(child, browser, logger),
    listen: (next) => {
      listener = next;
    },
  };
}

/** The process counts as gone when the folder of its browser is gone as well. */
function withBrowser(child: HandlerProcess, wish: BrowserWish, logger: Logger): HandlerProcess {
  const warmed = warmUp(child, wish).catch((error: unknown) => {
    logger.warn({ err: error }, 'no spare browser');
    return undefined;
  });
  const exited = child.exited.then(async (exit) => {
    const folder = await warmed;
    if (folder !== undefined) {
      await rm(folder, { recursive: true, force: true, maxRetries: 3 }).catch((error: unknown) => {
        logger.warn({ err: error }, 'folder of a browser not removed');
      });
    }
    return exit;
  });
  return {
    pid: child.pid,
    ready: child.ready,
    exited,
    send: (message) => {
      child.send(message);
    },
    kill: (graceMs) => {
      void child.kill(graceMs);
      return exited;
    },
  };
}

async function warmUp(child: HandlerProcess, wish: BrowserWish): Promise<string> {
  const tmpDir = await mkdtemp(path.join(wish.tmpDir, 'spare-'));
  child.ready.then(
    () => {
      child.send({ type: 'warm_browser', browser: { ...wish, tmpDir } });
    },
    () => undefined,
  );
  return tmpDir;
}
