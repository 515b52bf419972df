/**
 * Packets sent back to back after a rest. Three pictures at 6 Mbit/s, which come together when they waited for their sound: a
 * timer for the last of them would cost more than the packets. Linux' default UDP receive buffer holds about 90 datagrams.
 */
const BURST_PACKETS = 72;
const REST_MS = 20;
/** Packets per tick behind them: about 300 Mbit/s. */
const TICK_PACKETS = 32;
const TICK_MS = 1;
/** Beyond this backlog pacing would delay media more than bursts harm it. */
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
    const restedMs = nowMs - this.#lastRefillMs;
    if (restedMs >= TICK_MS) {
      this.#lastRefillMs = nowMs;
      this.#credit = restedMs >= REST_MS ? BURST_PACKETS : TICK_PACKETS;
    }
  }
}
