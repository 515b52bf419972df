import { ServiceError } from '../../base/errors.ts';

const HEADER_BYTES = 27;
const MAX_PACKET_BYTES = 1_000_000;
const CAPTURE_PATTERN = 0x5367674f; // "OggS", little endian

/** Takes packets out of one Ogg logical stream as its bytes arrive (RFC 3533 section 6). */
export class OggReader {
  #buffer: Buffer = Buffer.alloc(0);
  #partial: Buffer[] = [];
  #partialBytes = 0;

  /** @throws ServiceError internal when the bytes are not Ogg. */
  push(bytes: Uint8Array): Uint8Array[] {
    this.#buffer = this.#buffer.length === 0 ? Buffer.from(bytes) : Buffer.concat([this.#buffer, bytes]);
    const packets: Uint8Array[] = [];
    for (;;) {
      const pageBytes = this.#takePage(packets);
      if (pageBytes === 0) {
        return packets;
      }
      this.#buffer = this.#buffer.subarray(pageBytes);
    }
  }

  #takePage(packets: Uint8Array[]): number {
    const page = this.#buffer;
    if (page.length < HEADER_BYTES) {
      return 0;
    }
    if (page.readUInt32LE(0) !== CAPTURE_PATTERN) {
      throw new ServiceError('internal', 'Ogg stream lost its page boundary');
    }
    const segments = page.readUInt8(26);
    const bodyStart = HEADER_BYTES + segments;
    if (page.length < bodyStart) {
      return 0;
    }
    const lacing = page.subarray(HEADER_BYTES, bodyStart);
    const pageBytes = lacing.reduce((sum, length) => sum + length, bodyStart);
    if (page.length < pageBytes) {
      return 0;
    }
    let offset = bodyStart;
    for (const length of lacing) {
      this.#append(page.subarray(offset, offset + length));
      offset += length;
      if (length < 255) {
        packets.push(new Uint8Array(Buffer.concat(this.#partial)));
        this.#partial = [];
        this.#partialBytes = 0;
      }
    }
    return pageBytes;
  }

  #append(part: Buffer): void {
    this.#partial.push(part);
    this.#partialBytes += part.length;
    if (this.#partialBytes > MAX_PACKET_BYTES) {
      throw new ServiceError('internal', `Ogg packet above ${MAX_PACKET_BYTES} bytes`);
    }
  }
}
