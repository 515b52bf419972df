/**
 * A burst must fit the smallest receive buffer in use: Linux' default of 212992 bytes holds about 90 datagrams, and the
 * reader may be busy while the burst comes in.
 */
export const BATCH_LIMITS = { packets: 48, bytes: 48 * 1024 } as const;

/**
 * Media for a receiver that asked for batches: held back and sent in bursts, because such a receiver pays more for
 * waking up than for a packet. Order is kept; a full batch goes out at once, so a high bitrate is not held back for long.
 */
export class OutboundBatch {
  readonly #batchMs: number;
  readonly #send: (datagram: Buffer) => void;
  #held: Buffer[] = [];
  #heldBytes = 0;
  #dueMs = 0;

  constructor(options: { batchMs: number; send: (datagram: Buffer) => void }) {
    this.#batchMs = options.batchMs;
    this.#send = options.send;
  }

  get isEmpty(): boolean {
    return this.#held.length === 0;
  }

  /** Copies the datagram: its memory is used again long before the batch is due. */
  push(datagram: Buffer, nowMs: number): void {
    if (this.#held.length === 0) {
      this.#dueMs = nowMs + this.#batchMs;
    }
    this.#held.push(Buffer.from(datagram));
    this.#heldBytes += datagram.length;
    if (this.#held.length >= BATCH_LIMITS.packets || this.#heldBytes >= BATCH_LIMITS.bytes) {
      this.flush();
    }
  }

  /** Called every tick. */
  flushDue(nowMs: number): void {
    if (nowMs >= this.#dueMs) {
      this.flush();
    }
  }

  flush(): void {
    if (this.#held.length === 0) {
      return;
    }
    const held = this.#held;
    this.#held = [];
    this.#heldBytes = 0;
    for (const datagram of held) {
      this.#send(datagram);
    }
  }
}
