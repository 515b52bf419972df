import type { Logger } from '../base/logger.ts';

type Part = { close: (cause: string) => Promise<void> };

/** What runs in this process, in the order of its start; it ends in the reverse order. */
export class PartList {
  readonly #logger: Logger;
  readonly #parts: { name: string; part: Part }[] = [];
  readonly #running = new Set<string>();
  #closing: Promise<void> | undefined;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  add<P extends Part>(name: string, part: P): P {
    this.#parts.push({ name, part });
    this.#running.add(name);
    return part;
  }

  running(): string[] {
    return [...this.#running];
  }

  isRunning(name: string): boolean {
    return this.#running.has(name);
  }

  /** A part that does not end cleanly is logged and the next one ends all the same. Idempotent. */
  close(cause: string): Promise<void> {
    this.#closing ??= this.#closeAll(cause);
    return this.#closing;
  }

  async #closeAll(cause: string): Promise<void> {
    for (const { name, part } of this.#parts.reverse()) {
      this.#running.delete(name);
      await part.close(cause).catch((error: unknown) => {
        this.#logger.error({ part: name, err: error }, 'part did not close cleanly');
      });
    }
  }
}
