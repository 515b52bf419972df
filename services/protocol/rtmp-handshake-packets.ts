import { randomBytes } from 'node:crypto';
import { ServiceError } from '../base/errors.ts';

/** RTMP 1.0 section 5.2: version byte, then two packets of this size from each side. */
const PACKET_BYTES = 1536;
const VERSION = 3;
const PEER_BYTES = 1 + 2 * PACKET_BYTES;

export type HandshakeStep =
  | { done: false; reply: Buffer }
  /** `rest`: bytes behind the peer's second packet, already chunks. */
  | { done: true; reply: Buffer; rest: Buffer };

/** The peer's half of a handshake, in whatever pieces it comes. */
export class HandshakeReader {
  readonly #received = Buffer.alloc(PEER_BYTES);
  /** From the peer's first packet, C1 or S1. */
  readonly #answer: (packet: Buffer) => Buffer;
  #length = 0;
  #answered = false;

  constructor(answer: (packet: Buffer) => Buffer) {
    this.#answer = answer;
  }

  /** @throws ServiceError malformed on the first byte that is not RTMP's version. */
  push(data: Uint8Array): HandshakeStep {
    const taken = Math.min(data.length, PEER_BYTES - this.#length);
    this.#received.set(data.subarray(0, taken), this.#length);
    this.#length += taken;
    if (this.#length > 0 && this.#received[0] !== VERSION) {
      throw new ServiceError(
        'malformed',
        `RTMP: handshake version ${String(this.#received[0])} instead of 3`,
      );
    }
    const reply = this.#reply();
    if (this.#length < PEER_BYTES) {
      return { done: false, reply };
    }
    return { done: true, reply, rest: Buffer.from(data.subarray(taken)) };
  }

  /** As soon as the first packet is complete. */
  #reply(): Buffer {
    if (this.#answered || this.#length < 1 + PACKET_BYTES) {
      return Buffer.alloc(0);
    }
    this.#answered = true;
    return this.#answer(this.#received.subarray(1, 1 + PACKET_BYTES));
  }
}

/** C1 or S1 of the simple form: time and version are zero, which says "no digest here". */
export function simplePacket(): Buffer {
  const packet = randomBytes(PACKET_BYTES);
  packet.fill(0, 0, 8);
  return packet;
}

/** The version byte and the packets behind it. */
export function withVersion(...packets: Uint8Array[]): Buffer {
  return Buffer.concat([Buffer.from([VERSION]), ...packets]);
}
