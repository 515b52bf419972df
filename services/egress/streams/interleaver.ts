type Kind = 'video' | 'audio';
export type Timed = { kind: Kind; dtsUs: number };

export type Patience = {
  /** For a track that has fallen silent. */
  runningUs: number;
  /** For the first packet of a track. */
  startUs: number;
};
/** On a busy machine sound is encoded late; receivers never play a track that the beginning lacks. */
const PATIENCE: Patience = { runningUs: 3_000_000, startUs: 10_000_000 };
const MAX_HELD = 2_000;

/**
 * Puts picture and sound into the order of their decode times, which platforms expect of a publisher. A track that has
 * fallen silent holds the other one back for a while at most.
 */
export class Interleaver<T extends Timed> {
  readonly #newestUs = new Map<Kind, number | undefined>();
  readonly #patience: Patience;
  readonly #emit: (message: T) => void;
  #held: T[] = [];

  constructor(kinds: readonly Kind[], emit: (message: T) => void, patience = PATIENCE) {
    this.#patience = patience;
    this.#emit = emit;
    for (const kind of kinds) {
      this.#newestUs.set(kind, undefined);
    }
  }

  push(message: T): void {
    const after = this.#held.findLastIndex((held) => held.dtsUs <= message.dtsUs);
    this.#held.splice(after + 1, 0, message);
    this.#newestUs.set(message.kind, message.dtsUs);
    this.#release(this.#limitUs());
  }

  flush(): void {
    this.#release(Infinity);
  }

  /** Everything up to here is in its final order. */
  #limitUs(): number {
    const known = [...this.#newestUs.values()].filter((newest) => newest !== undefined);
    const newestUs = Math.max(...known);
    const isStarting = known.length < this.#newestUs.size;
    const commonUs = isStarting ? -Infinity : Math.min(...known);
    const waitUs = isStarting ? this.#patience.startUs : this.#patience.runningUs;
    return this.#held.length > MAX_HELD ? newestUs : Math.max(commonUs, newestUs - waitUs);
  }

  #release(limitUs: number): void {
    const end = this.#held.findIndex((message) => message.dtsUs > limitUs);
    for (const message of this.#held.splice(0, end === -1 ? this.#held.length : end)) {
      this.#emit(message);
    }
  }
}
