import { randomBytes } from 'node:crypto';
import { ServiceError } from '../base/errors.ts';
import { findClientDigest, signedAnswer } from './rtmp-digest.ts';

/** RTMP 1.0 section 5.2: version byte, then two packets of this size from each side. */
const PACKET_BYTES = 1536;
const VERSION = 3;
const CLIENT_BYTES = 1 + 2 * PACKET_BYTES;

export type HandshakeStep =
  | { done: false; reply: Buffer }
  /** `rest`: bytes behind C2, already chunks. */
  | { done: true; reply: Buffer; rest: Buffer };

/**
 * The server side. A C1 with a digest (Flash, FMLE, ffmpeg) is answered with digests, any other one with its echo;
 * C2 is not compared, since several encoders fill it with garbage.
 */
export class ServerHandshake {
  readonly #received = Buffer.alloc(CLIENT_BYTES);
  #length = 0;
  #replied = false;

  /** @throws ServiceError malformed on the first byte that is not RTMP's version. */
  push(data: Uint8Array): HandshakeStep {
    const taken = Math.min(data.length, CLIENT_BYTES - this.#length);
    this.#received.set(data.subarray(0, taken), this.#length);
    this.#length += taken;
    if (this.#length > 0 && this.#received[0] !== VERSION) {
      throw new ServiceError(
        'malformed',
        `RTMP: handshake version ${String(this.#received[0])} instead of 3`,
      );
    }
    const reply = this.#reply();
    if (this.#length < CLIENT_BYTES) {
      return { done: false, reply };
    }
    return { done: true, reply, rest: Buffer.from(data.subarray(taken)) };
  }

  /** S0, S1 and S2 as soon as C1 is complete. */
  #reply(): Buffer {
    if (this.#replied || this.#length < 1 + PACKET_BYTES) {
      return Buffer.alloc(0);
    }
    this.#replied = true;
    const c1 = this.#received.subarray(1, 1 + PACKET_BYTES);
    const client = findClientDigest(c1);
    if (client !== undefined) {
      const { s1, s2 } = signedAnswer(client);
      return Buffer.concat([Buffer.from([VERSION]), s1, s2]);
    }
    const s1 = randomBytes(PACKET_BYTES);
    s1.fill(0, 0, 8); // time, and a zero version that says "no digest here"
    return Buffer.concat([Buffer.from([VERSION]), s1, c1]);
  }
}
