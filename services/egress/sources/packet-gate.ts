/**
 * Holds what a source sends until its start() has resolved, so that a caller who subscribes after awaiting start()
 * misses nothing.
 */
export class PacketGate {
  #held: (() => void)[] | undefined = [];

  pass(send: () => void): void {
    if (this.#held === undefined) {
      send();
    } else {
      this.#held.push(send);
    }
  }

  open(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const send of held) {
      send();
    }
  }
}
