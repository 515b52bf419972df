import type { Logger } from './logger.ts';

type Listener<Payload> = (payload: Payload) => void;

/**
 * Typed events whose listeners can never break the emitter: a listener that throws is logged and the next
 * one runs. The media path emits through this.
 */
export class SafeEmitter<Events extends object> {
  readonly #listeners = new Map<keyof Events, Set<Listener<never>>>();
  readonly #logger: Logger | undefined;

  constructor(logger?: Logger) {
    this.#logger = logger;
  }

  /** Returns the function that removes the listener again. */
  on<Name extends keyof Events>(name: Name, listener: Listener<Events[Name]>): () => void {
    let set = this.#listeners.get(name);
    if (set === undefined) {
      set = new Set();
      this.#listeners.set(name, set);
    }
    set.add(listener);
    return () => {
      set.delete(listener);
    };
  }

  once<Name extends keyof Events>(name: Name, listener: Listener<Events[Name]>): () => void {
    const off = this.on(name, (payload) => {
      off();
      listener(payload);
    });
    return off;
  }

  emit<Name extends keyof Events>(name: Name, payload: Events[Name]): void {
    const set = this.#listeners.get(name);
    if (set === undefined) {
      return;
    }
    for (const listener of [...set]) {
      try {
        (listener as Listener<Events[Name]>)(payload);
      } catch (error) {
        this.#logger?.error({ err: error, event: String(name) }, 'event listener failed');
      }
    }
  }

  removeAll(): void {
    this.#listeners.clear();
  }
}
