import type { InboundStream } from './inbound-stream.ts';

/** About 4 s of a 2 Mbit/s layer; a power of two. */
const SIZE = 1024;
const MASK = SIZE - 1;

/** How an outgoing sequence number came about, to repeat the packet on a NACK. */
export class SentPackets {
  readonly #out = new Float64Array(SIZE).fill(-1);
  readonly #in = new Float64Array(SIZE);
  readonly #timestamps = new Uint32Array(SIZE);
  readonly #pictureIds = new Uint16Array(SIZE);
  readonly #tl0PicIdx = new Uint8Array(SIZE);
  readonly #streams: (InboundStream | undefined)[] = new Array<InboundStream | undefined>(SIZE).fill(
    undefined,
  );

  /** `out` and `sequence` are extended; picture id and TL0PICIDX as sent. */
  remember(
    out: number,
    stream: InboundStream,
    sequence: number,
    timestamp: number,
    pictureId: number,
    tl0PicIdx: number,
  ): void {
    const slot = out & MASK;
    this.#out[slot] = out;
    this.#in[slot] = sequence;
    this.#streams[slot] = stream;
    this.#timestamps[slot] = timestamp;
    this.#pictureIds[slot] = pictureId;
    this.#tl0PicIdx[slot] = tl0PicIdx;
  }

  /** Slot of the latest packet with that 16-bit number, -1 when it is gone. */
  find(sequenceNumber: number): number {
    const slot = sequenceNumber & MASK;
    const out = this.#out[slot] ?? -1;
    return out >= 0 && (out & 0xffff) === sequenceNumber ? slot : -1;
  }

  streamAt(slot: number): InboundStream | undefined {
    return this.#streams[slot];
  }

  sequenceAt(slot: number): number {
    return this.#in[slot] ?? 0;
  }

  timestampAt(slot: number): number {
    return this.#timestamps[slot] ?? 0;
  }

  pictureIdAt(slot: number): number {
    return this.#pictureIds[slot] ?? 0;
  }

  tl0PicIdxAt(slot: number): number {
    return this.#tl0PicIdx[slot] ?? 0;
  }
}

/** Repeats of whole protected datagrams, for receivers without RTX: a second encryption of the same index would break GCM. */
export class ProtectedCopies {
  readonly #copies: (Buffer | undefined)[] = [];
  readonly #sequenceNumbers = new Int32Array(SIZE / 4).fill(-1);

  keep(sequenceNumber: number, datagram: Buffer): void {
    const slot = sequenceNumber % this.#sequenceNumbers.length;
    this.#sequenceNumbers[slot] = sequenceNumber;
    this.#copies[slot] = Buffer.from(datagram);
  }

  find(sequenceNumber: number): Buffer | undefined {
    const slot = sequenceNumber % this.#sequenceNumbers.length;
    return this.#sequenceNumbers[slot] === sequenceNumber ? this.#copies[slot] : undefined;
  }
}
