import { SequenceUnwrapper, sequenceDistance } from '../rtp/sequence.ts';

export type ReorderedPacket = {
  /** Unwrapped sequence number. */
  sequence: number;
  /** RTP timestamp as on the wire. */
  timestamp: number;
  marker: boolean;
  payload: Uint8Array;
  arrivalUs: number;
};

export type ReorderBufferOptions = {
  /** How long to wait for a missing packet before it counts as lost. */
  maxWaitUs: number;
  /** Hard bound on packets held back; reaching it gives up on the oldest gap. */
  maxPackets: number;
  /**
   * Whether the stream may begin with this payload. Until one that may has come, packets are held: the first ones can
   * arrive in the wrong order too.
   */
  isStreamStart: (payload: Uint8Array) => boolean;
  onPacket: (packet: ReorderedPacket) => void;
  /** `count` packets in front of the next onPacket will never come. */
  onLost: (count: number) => void;
};

type Missing = { sinceUs: number; lastRequestUs: number; requests: number };

/** A jump this far is a restarted sender, not loss (RFC 3550 appendix A.1, MAX_DROPOUT). */
const MAX_DROPOUT = 3000;
/** After this many requests for one packet it is not asked for any more, only waited for. */
const MAX_REQUESTS = 12;

/** Puts packets in sequence order, without delay when nothing is missing, and knows which ones to ask for again. */
export class ReorderBuffer {
  readonly #options: ReorderBufferOptions;
  readonly #held = new Map<number, ReorderedPacket>();
  readonly #missing = new Map<number, Missing>();
  #unwrapper = new SequenceUnwrapper();
  #next: number | undefined;
  #highest = 0;

  constructor(options: ReorderBufferOptions) {
    this.#options = options;
  }

  get missingCount(): number {
    return this.#missing.size;
  }

  /** Unwrapped number the RTX packet's original sequence number stands for. */
  push(
    sequenceNumber: number,
    { timestamp, marker, payload, arrivalUs }: Omit<ReorderedPacket, 'sequence'>,
  ): 'new' | 'late' | 'duplicate' {
    if (
      this.#next !== undefined &&
      Math.abs(sequenceDistance(sequenceNumber, this.#highest & 0xffff)) > MAX_DROPOUT
    ) {
      this.#restart();
    }
    const sequence = this.#unwrapper.unwrap(sequenceNumber);
    // Field by field: spreading costs more than everything else here.
    const packet = { sequence, timestamp, marker, payload, arrivalUs };
    if (this.#next === undefined) {
      return this.#begin(packet);
    }
    if (sequence < this.#next) {
      return 'late';
    }
    if (this.#held.has(sequence)) {
      return 'duplicate';
    }
    this.#note(sequence, arrivalUs);
    if (sequence === this.#next) {
      this.#next += 1;
      this.#options.onPacket(packet);
      if (this.#held.size > 0) {
        this.#release();
      }
    } else {
      this.#held.set(sequence, packet);
      while (this.#held.size > this.#options.maxPackets) {
        this.#skipGap();
      }
    }
    return 'new';
  }

  /** Gives up on packets that were missing for too long. */
  expire(nowUs: number): void {
    for (;;) {
      const oldest = this.#next === undefined ? undefined : this.#missing.get(this.#next);
      if (oldest === undefined || nowUs - oldest.sinceUs < this.#options.maxWaitUs) {
        return;
      }
      this.#skipGap();
    }
  }

  /** Sequence numbers (16 bit, ascending) to request now; each at most every `intervalUs`. */
  takeRequests(nowUs: number, intervalUs: number): number[] {
    const wanted: number[] = [];
    for (const [sequence, missing] of this.#missing) {
      if (missing.requests < MAX_REQUESTS && nowUs - missing.lastRequestUs >= intervalUs) {
        missing.lastRequestUs = nowUs;
        missing.requests += 1;
        wanted.push(sequence & 0xffff);
      }
    }
    return wanted;
  }

  /** Before the stream has a beginning. */
  #begin(packet: ReorderedPacket): 'new' | 'duplicate' {
    const { sequence } = packet;
    if (this.#held.has(sequence)) {
      return 'duplicate';
    }
    this.#held.set(sequence, packet);
    this.#highest = sequence;
    if (!this.#options.isStreamStart(packet.payload)) {
      const [oldest] = this.#held.keys();
      if (this.#held.size > this.#options.maxPackets && oldest !== undefined) {
        this.#held.delete(oldest);
      }
      return 'new';
    }
    this.#next = sequence;
    for (const held of [...this.#held.keys()].sort((a, b) => a - b)) {
      if (held < sequence) {
        this.#held.delete(held);
      } else {
        this.#note(held, packet.arrivalUs);
      }
    }
    this.#release();
    return 'new';
  }

  /** Takes a sequence number off the missing ones, and puts those on that it shows to be missing. */
  #note(sequence: number, arrivalUs: number): void {
    this.#missing.delete(sequence);
    for (let gap = this.#highest + 1; gap < sequence; gap += 1) {
      this.#missing.set(gap, { sinceUs: arrivalUs, lastRequestUs: Number.NEGATIVE_INFINITY, requests: 0 });
    }
    this.#highest = Math.max(this.#highest, sequence);
  }

  #release(): void {
    let next = this.#next ?? 0;
    for (;;) {
      const packet = this.#held.get(next);
      if (packet === undefined) {
        break;
      }
      this.#held.delete(next);
      next += 1;
      this.#next = next;
      this.#options.onPacket(packet);
    }
  }

  /** Moves to the next packet that is there. */
  #skipGap(): void {
    const start = this.#next ?? 0;
    let next = start;
    while (next <= this.#highest && !this.#held.has(next)) {
      this.#missing.delete(next);
      next += 1;
    }
    this.#next = next;
    if (next > start) {
      this.#options.onLost(next - start);
    }
    this.#release();
  }

  #restart(): void {
    while (this.#held.size > 0) {
      this.#skipGap();
    }
    this.#missing.clear();
    this.#next = undefined;
    this.#unwrapper = new SequenceUnwrapper();
    this.#options.onLost(1);
  }
}
