import { ServiceError } from '../../base/errors.ts';

export type IvfFrame = { ptsUs: number; data: Buffer };

const HEADER_BYTES = 32;
const FRAME_HEADER_BYTES = 12;
/** More than any frame of a live stream. */
const MAX_FRAME_BYTES = 16 << 20;

/** Reads the frames of an IVF stream as its bytes come. */
export class IvfReader {
  #rest: Buffer = Buffer.alloc(0);
  /** Undefined before the header. */
  #tickUs: number | undefined;

  /** Frames are views into what was read. @throws ServiceError malformed. */
  push(bytes: Buffer): IvfFrame[] {
    let buffer = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    const frames: IvfFrame[] = [];
    if (this.#tickUs === undefined && buffer.length >= HEADER_BYTES) {
      this.#tickUs = tickUs(buffer);
      buffer = buffer.subarray(buffer.readUInt16LE(6));
    }
    while (this.#tickUs !== undefined && buffer.length >= FRAME_HEADER_BYTES) {
      const length = buffer.readUInt32LE(0);
      if (length > MAX_FRAME_BYTES) {
        throw new ServiceError('malformed', `IVF: frame of ${length} bytes`);
      }
      const end = FRAME_HEADER_BYTES + length;
      if (buffer.length < end) {
        break;
      }
      const ptsUs = Math.round(Number(buffer.readBigInt64LE(4)) * this.#tickUs);
      frames.push({ ptsUs, data: buffer.subarray(FRAME_HEADER_BYTES, end) });
      buffer = buffer.subarray(end);
    }
    this.#rest = buffer;
    return frames;
  }
}

function tickUs(header: Buffer): number {
  const [rate, scale] = [header.readUInt32LE(16), header.readUInt32LE(20)];
  if (header.toString('latin1', 0, 4) !== 'DKIF' || rate === 0 || header.readUInt16LE(6) < HEADER_BYTES) {
    throw new ServiceError('malformed', 'IVF: no file header');
  }
  return (scale * 1_000_000) / rate;
}
