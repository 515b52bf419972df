import type { ServiceError } from '../base/errors.ts';

type Kind = 'audio' | 'video';

/** How long an encoder whose sound or picture was refused may take to send the other one. */
const OTHER_KIND_MS = 3_000;

export type RefusedTracksOptions = {
  /** The session goes on without it; undefined: it is heard or seen again. */
  onRefused: (kind: Kind, error: ServiceError | undefined) => void;
  /** Nothing is left to publish. */
  onNothingLeft: (error: ServiceError) => void;
};

/** An encoder whose sound (or picture) nobody here can read is still seen (or heard). */
export class RefusedTracks {
  readonly #options: RefusedTracksOptions;
  readonly #taken = new Set<Kind>();
  readonly #refused = new Map<Kind, ServiceError>();
  #timer: NodeJS.Timeout | undefined;

  constructor(options: RefusedTracksOptions) {
    this.#options = options;
  }

  /** A message of this kind could be read. */
  taken(kind: Kind): void {
    if (this.#refused.size === 0 && this.#taken.has(kind)) {
      return;
    }
    this.#taken.add(kind);
    const other = kind === 'audio' ? 'video' : 'audio';
    const refusal = this.#refused.get(other);
    if (refusal !== undefined && this.#timer !== undefined) {
      this.#stopWaiting();
      this.#options.onRefused(other, refusal);
    }
  }

  /** A message of this kind could not be read. */
  refuse(kind: Kind, error: ServiceError): void {
    if (this.#refused.has(kind)) {
      return;
    }
    const other = kind === 'audio' ? 'video' : 'audio';
    this.#refused.set(kind, error);
    if (this.#refused.has(other)) {
      this.#stopWaiting();
      this.#options.onNothingLeft(error);
    } else if (this.#taken.has(other)) {
      this.#options.onRefused(kind, error);
    } else {
      this.#timer = setTimeout(() => {
        this.#options.onNothingLeft(error);
      }, OTHER_KIND_MS);
    }
  }

  /** Something of this kind has reached the room. */
  published(kind: Kind): void {
    if (this.#refused.delete(kind)) {
      this.#stopWaiting();
      this.#options.onRefused(kind, undefined);
    }
  }

  /** Why nothing of what the encoder sent until now can be published. */
  get nothingRead(): ServiceError | undefined {
    return this.#taken.size === 0 ? [...this.#refused.values()].at(-1) : undefined;
  }

  close(): void {
    this.#stopWaiting();
  }

  #stopWaiting(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
