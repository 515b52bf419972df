/**
 * Packets sent back to back. Two pictures at 6 Mbit/s, and half of what Linux' default UDP receive buffer holds (about 90
 * datagrams).
 */
const BURST_PACKETS = 48;
const TICK_MS = 1;
/** Beyond this backlog pacing would delay media more than bursts harm it: 48 packets per ms are about 450 Mbit/s. */
const MAX_BACKLOG = 768;

/** A packet waiting in a send stream's history. */
export type PacedPacket = { send: () => void };

/**
 * Spreads big frames over a few milliseconds so that receive buffers on the way do not overflow. Small frames go out
 * at once. The queue is bounded: what exceeds it is sent without pacing, never dropped here.
 */
export class Pacer {
  #queue: PacedPacket[] = [];
  #head = 0;
  #credit = BURST_PACKETS;
  #timer: NodeJS.Timeout | undefined;
  #lastRefillMs = 0;

  get backlog(): number {
    return this.#queue.length - this.#head;
  }

  push(packet: PacedPacket): void {
    this.#refill();
    if (this.backlog === 0 && this.#credit > 0) {
      this.#credit -= 1;
      packet.send();
      return;
    }
    this.#queue.push(packet);
    while (this.backlog > MAX_BACKLOG) {
      this.#sendNext();
    }
    this.#timer ??= setTimeout(() => this.#tick(), TICK_MS);
  }

  /** Forgets what is queued. */
  close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#queue = [];
    this.#head = 0;
  }

  #tick(): void {
    this.#timer = undefined;
    this.#refill();
    while (this.backlog > 0 && this.#credit > 0) {
      this.#credit -= 1;
      this.#sendNext();
    }
    if (this.backlog > 0) {
      this.#timer = setTimeout(() => this.#tick(), TICK_MS);
    }
  }

  #sendNext(): void {
    const packet = this.#queue[this.#head];
    this.#head += 1;
    if (this.#head === this.#queue.length) {
      this.#queue = [];
      this.#head = 0;
    }
    packet?.send();
  }

  #refill(): void {
    const nowMs = performance.now();
    if (nowMs - this.#lastRefillMs >= TICK_MS) {
      this.#lastRefillMs = nowMs;
      this.#credit = BURST_PACKETS;
    }
  }
}
