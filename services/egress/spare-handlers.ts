import type { Logger } from '../base/logger.ts';
import type { ValidatedEgress } from '../model/egress.ts';
import { DEFAULT_WISH } from '../model/presets.ts';
import type { FromHandler } from './handler-messages.ts';
import { SpareHandler, type HandlerProcess } from './spare-handler.ts';

export type SpareHandlersOptions = {
  /** dist/egress-handler.js */
  handlerEntry: string;
  maxRssBytes: number;
  logger: Logger;
  tmpDir: string;
  chromiumPath: string | undefined;
  warmHandlers?: number;
  warmBrowsers?: number;
};

/** What waits on a node for its next jobs: a process, and one with a browser. */
export class SpareHandlers {
  readonly #plain: SpareHandler;
  readonly #withBrowser: SpareHandler;
  /** The next page job most likely has the size of the last one. */
  #pageSize: { width: number; height: number } = { width: DEFAULT_WISH.width, height: DEFAULT_WISH.height };

  constructor(options: SpareHandlersOptions) {
    const { handlerEntry, maxRssBytes, logger, tmpDir, chromiumPath } = options;
    const common = { handlerEntry, maxRssBytes, logger };
    this.#plain = new SpareHandler({ ...common, keep: options.warmHandlers ?? 0 });
    this.#withBrowser = new SpareHandler({
      ...common,
      keep: chromiumPath === undefined ? 0 : (options.warmBrowsers ?? 0),
      browser: () => ({ browserPath: chromiumPath ?? '', tmpDir, ...this.#pageSize }),
    });
  }

  get pids(): number[] {
    return [this.#plain.pid, this.#withBrowser.pid].filter((pid) => pid !== undefined);
  }

  /** Starts what is missing. */
  refill(): void {
    this.#plain.refill();
    this.#withBrowser.refill();
  }

  /** A process for this job alone, one that waits if there is one. */
  take({ job, encoding }: ValidatedEgress, onMessage: (message: FromHandler) => void): HandlerProcess {
    if (encoding === null || job.kind === 'media') {
      return this.#plain.take(onMessage);
    }
    this.#pageSize = { width: encoding.width, height: encoding.height };
    return (this.#withBrowser.pid === undefined ? this.#plain : this.#withBrowser).take(onMessage);
  }

  /** Ends what waits and keeps nothing from now on. Idempotent. */
  async close(): Promise<void> {
    await Promise.all([this.#plain.close(), this.#withBrowser.close()]);
  }
}
