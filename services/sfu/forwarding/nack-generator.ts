/** Requests per lost packet before it is given up. */
const MAX_TRIES = 8;
/** Longer than most round trips, so that a packet is not asked for again while it is on its way. */
const RETRY_INTERVAL_MS = 60;
/** Reordered packets usually arrive within this time. */
const REORDER_TOLERANCE_MS = 10;
const MAX_MISSING = 256;
/** A gap this large is a restart or an outage; a key frame repairs it, retransmission does not. */
const MAX_GAP = 128;

type MissingPacket = { nextTryMs: number; tries: number };

/** Keeps the list of packets missing in one inbound stream and decides when to ask for them. Extended sequence numbers. */
export class NackGenerator {
  readonly #missing = new Map<number, MissingPacket>();

  get missingCount(): number {
    return this.#missing.size;
  }

  /** The packets after `previous` and before `arrived` are missing. Returns false when the gap is beyond repair. */
  onGap(previous: number, arrived: number, nowMs: number): boolean {
    if (arrived - previous - 1 > MAX_GAP) {
      this.#missing.clear();
      return false;
    }
    for (let sequence = previous + 1; sequence < arrived; sequence += 1) {
      if (this.#missing.size >= MAX_MISSING) {
        break;
      }
      this.#missing.set(sequence, { nextTryMs: nowMs + REORDER_TOLERANCE_MS, tries: 0 });
    }
    return true;
  }

  /** True when the packet was missing. */
  onArrival(sequence: number): boolean {
    return this.#missing.size > 0 && this.#missing.delete(sequence);
  }

  /** Sequence numbers to ask for now, ascending. */
  takeDue(nowMs: number): number[] {
    const due: number[] = [];
    for (const [sequence, packet] of this.#missing) {
      if (packet.tries >= MAX_TRIES) {
        if (nowMs >= packet.nextTryMs) {
          this.#missing.delete(sequence);
        }
      } else if (nowMs >= packet.nextTryMs) {
        packet.tries += 1;
        packet.nextTryMs = nowMs + RETRY_INTERVAL_MS;
        due.push(sequence);
      }
    }
    return due.sort((a, b) => a - b);
  }
}
