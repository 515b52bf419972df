/** The one time limit a connection is under: first to get on with it, then to keep sending media. */
export class RtmpDeadline {
  readonly #onMissed: (cause: string) => void;
  #timer: NodeJS.Timeout | undefined;
  #mediaSeen = false;
  #mediaEverSeen = false;

  constructor(onMissed: (cause: string) => void) {
    this.#onMissed = onMissed;
  }

  /** Replaces the limit before. */
  expectWithin(timeoutMs: number, cause: string): void {
    this.#start(timeoutMs, () => {
      this.#onMissed(cause);
    });
  }

  /** From now on `sawMedia` must come in every period: one timer per period instead of one per message. */
  expectMedia(periodMs: number): void {
    this.#mediaSeen = false;
    this.#start(periodMs, () => {
      if (this.#mediaSeen) {
        this.expectMedia(periodMs);
      } else {
        const cause = `no media for ${periodMs / 1000} s`;
        // LiveKit's words for an encoder that never sent any.
        this.#onMissed(this.#mediaEverSeen ? cause : `source encoder not ready: ${cause}`);
      }
    });
  }

  sawMedia(): void {
    this.#mediaSeen = true;
    this.#mediaEverSeen = true;
  }

  /** Runs `action` later instead of any limit. */
  postpone(delayMs: number, action: () => void): void {
    this.#start(delayMs, action);
  }

  clear(): void {
    clearTimeout(this.#timer);
  }

  #start(delayMs: number, action: () => void): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(action, delayMs);
  }
}
