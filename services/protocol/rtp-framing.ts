import { ServiceError } from '../base/errors.ts';

/** RFC 4571: over TCP every packet (STUN, DTLS, SRTP alike) comes behind its length in 16 bits. */
const LENGTH_BYTES = 2;
const EMPTY = Buffer.alloc(0);

/** @param packet at most 65 535 bytes; it is copied. */
export function framed(packet: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(LENGTH_BYTES + packet.length);
  frame.writeUInt16BE(packet.length, 0);
  frame.set(packet, LENGTH_BYTES);
  return frame;
}

/** Finds the packets in what arrives by TCP. Keeps one unfinished packet at most. */
export class FrameReader {
  #rest: Buffer = EMPTY;

  /**
   * Calls `onPacket` for each packet that is complete, in order; empty ones are left out (section 2).
   * @param maxBytes asked before each packet, as what a sender may send depends on who it is.
   * @throws ServiceError malformed for a longer packet, as soon as its length is known. Read no further then.
   */
  push(chunk: Buffer, maxBytes: () => number, onPacket: (packet: Buffer) => void): void {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let offset = 0;
    while (bytes.length - offset >= LENGTH_BYTES) {
      const length = bytes.readUInt16BE(offset);
      const limit = maxBytes();
      if (length > limit) {
        throw new ServiceError('malformed', `a framed packet of ${length} bytes; the limit is ${limit}`);
      }
      const end = offset + LENGTH_BYTES + length;
      if (end > bytes.length) {
        break;
      }
      if (length > 0) {
        onPacket(bytes.subarray(offset + LENGTH_BYTES, end));
      }
      offset = end;
    }
    this.#rest = bytes.subarray(offset);
  }
}
