import { randomBytes } from 'node:crypto';
import { ServiceError } from '../base/errors.ts';

/** RTMP 1.0 section 5.2. */
const PACKET_BYTES = 1536;
const VERSION = 3;
const SERVER_BYTES = 1 + 2 * PACKET_BYTES;

export type ClientHandshakeStep =
  | { done: false; reply: Buffer }
  /** `rest`: bytes behind S2, already chunks. */
  | { done: true; reply: Buffer; rest: Buffer };

/** The client side in its simple form, which every platform takes from publishers. S2 is not compared. */
export class ClientHandshake {
  readonly #received = Buffer.alloc(SERVER_BYTES);
  #length = 0;
  #replied = false;

  /** C0 and C1. */
  hello(): Buffer {
    const c1 = randomBytes(PACKET_BYTES);
    c1.fill(0, 0, 8); // time, and a zero version that says "no digest here"
    return Buffer.concat([Buffer.from([VERSION]), c1]);
  }

  /** @throws ServiceError malformed on the first byte that is not RTMP's version. */
  push(data: Uint8Array): ClientHandshakeStep {
    const taken = Math.min(data.length, SERVER_BYTES - this.#length);
    this.#received.set(data.subarray(0, taken), this.#length);
    this.#length += taken;
    if (this.#length > 0 && this.#received[0] !== VERSION) {
      throw new ServiceError(
        'malformed',
        `RTMP: handshake version ${String(this.#received[0])} instead of 3`,
      );
    }
    const reply = this.#reply();
    if (this.#length < SERVER_BYTES) {
      return { done: false, reply };
    }
    return { done: true, reply, rest: Buffer.from(data.subarray(taken)) };
  }

  /** C2 echoes S1 as soon as that is complete. */
  #reply(): Buffer {
    if (this.#replied || this.#length < 1 + PACKET_BYTES) {
      return Buffer.alloc(0);
    }
    this.#replied = true;
    return Buffer.from(this.#received.subarray(1, 1 + PACKET_BYTES));
  }
}
