import { ServiceError } from '../base/errors.ts';
import { Slab } from '../base/slab.ts';
import { RTMP_MESSAGE, type RtmpMessage } from './rtmp-message.ts';

/** How much a peer may make us hold; tightened or widened as it proves itself. */
export type ChunkLimits = {
  maxMessageBytes: number;
  /** Sum over all unfinished messages. */
  maxBufferedBytes: number;
  maxChunkStreams: number;
  /** Longest message that gets its memory at once, on the word of its header; longer ones as their bytes arrive. */
  maxTrustedBytes: number;
};

export const DEFAULT_CHUNK_BYTES = 128;
/** A chunk never needs to be larger than the largest message (section 5.4.1). */
const MAX_CHUNK_BYTES = 0xffffff;
const EXTENDED_TIMESTAMP = 0xffffff;
const MESSAGE_HEADER_BYTES = [11, 7, 3, 0] as const;
const FIRST_BUFFER_BYTES = 4096;

type ChunkStream = {
  timestampMs: number;
  /** Last field as read, used again by type 3. */
  deltaMs: number;
  extended: number | undefined;
  messageBytes: number;
  typeId: number;
  messageStreamId: number;
  /** Grows with the bytes that really arrive, beyond what a peer is trusted with. */
  buffer: Buffer;
  received: number;
};

/** Puts messages together from chunks (RTMP 1.0 section 5.3) as bytes arrive. Protocol control 1 and 2 are obeyed. */
export class ChunkReader {
  limits: ChunkLimits;
  readonly #streams = new Map<number, ChunkStream>();
  #chunkBytes = DEFAULT_CHUNK_BYTES;
  #bufferedBytes = 0;
  #chunkCount = 0;
  /** Start of a chunk header that is not complete yet: at most 18 bytes. */
  #pending: Buffer = Buffer.alloc(0);
  #current: { stream: ChunkStream; left: number } | undefined;
  readonly #slab = new Slab();

  constructor(limits: ChunkLimits) {
    this.limits = limits;
  }

  /** Bytes held for unfinished messages. */
  get bufferedBytes(): number {
    return this.#bufferedBytes;
  }

  /** Chunk headers read so far: what the peer makes us work, however few bytes it sends. */
  get chunkCount(): number {
    return this.#chunkCount;
  }

  /**
   * Calls `onMessage` for every message that is complete now, in order.
   * @throws ServiceError malformed or resource_exhausted; the connection cannot go on then.
   */
  push(data: Uint8Array, onMessage: (message: RtmpMessage) => void): void {
    let bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
    if (this.#pending.length > 0) {
      bytes = Buffer.concat([this.#pending, bytes]);
      this.#pending = Buffer.alloc(0);
    }
    let offset = 0;
    while (offset < bytes.length) {
      if (this.#current === undefined) {
        const headerBytes = this.#readHeader(bytes, offset);
        if (headerBytes === 0) {
          this.#pending = Buffer.from(bytes.subarray(offset));
          return;
        }
        offset += headerBytes;
        this.#chunkCount++;
      }
      offset += this.#readPayload(bytes, offset, onMessage);
    }
  }

  /** Gives the header's length and sets `#current`; 0 = more bytes are needed. */
  #readHeader(bytes: Buffer, start: number): number {
    const format = (bytes.readUInt8(start) >> 6) as 0 | 1 | 2 | 3;
    const low = bytes.readUInt8(start) & 0x3f;
    const basicBytes = low === 0 ? 2 : low === 1 ? 3 : 1;
    const header = start + basicBytes;
    const end = header + MESSAGE_HEADER_BYTES[format];
    if (end > bytes.length) {
      return 0;
    }
    const chunkStreamId =
      low === 0 ? bytes.readUInt8(start + 1) + 64 : low === 1 ? bytes.readUInt16LE(start + 1) + 64 : low;
    const stream = this.#streams.get(chunkStreamId) ?? this.#open(chunkStreamId, format);
    const field = format === 3 ? undefined : bytes.readUIntBE(header, 3);
    const extendedBytes = this.#extendedBytes(bytes, end, stream, field);
    if (extendedBytes === undefined) {
      return 0;
    }
    if (format !== 3 && stream.received > 0) {
      throw new ServiceError('malformed', 'RTMP: a message starts inside another one on its chunk stream');
    }
    this.#streams.set(chunkStreamId, stream);
    if (format < 2) {
      stream.messageBytes = bytes.readUIntBE(header + 3, 3);
      stream.typeId = bytes.readUInt8(header + 6);
      if (stream.messageBytes > this.limits.maxMessageBytes) {
        throw new ServiceError(
          'resource_exhausted',
          `RTMP: a message of ${stream.messageBytes} bytes is above the limit of ${this.limits.maxMessageBytes}`,
        );
      }
    }
    if (format === 0) {
      stream.messageStreamId = bytes.readUInt32LE(header + 7);
    }
    if (field !== undefined) {
      stream.extended = extendedBytes > 0 ? bytes.readUInt32BE(end) : undefined;
      stream.deltaMs = stream.extended ?? field;
    }
    if (stream.received === 0) {
      stream.timestampMs = (format === 0 ? stream.deltaMs : stream.timestampMs + stream.deltaMs) >>> 0;
    }
    this.#current = { stream, left: Math.min(this.#chunkBytes, stream.messageBytes - stream.received) };
    return end + extendedBytes - start;
  }

  /**
   * 4 when an extended timestamp follows, undefined when that cannot be told yet. Some encoders repeat it in type 3
   * chunks (as section 5.3.1.3 asks) and some do not: the value itself tells.
   */
  #extendedBytes(
    bytes: Buffer,
    offset: number,
    stream: ChunkStream,
    field: number | undefined,
  ): 0 | 4 | undefined {
    if (field === undefined ? stream.extended === undefined : field !== EXTENDED_TIMESTAMP) {
      return 0;
    }
    if (offset + 4 > bytes.length) {
      return undefined;
    }
    return field === undefined && bytes.readUInt32BE(offset) !== stream.extended ? 0 : 4;
  }

  #open(chunkStreamId: number, format: number): ChunkStream {
    if (format > 1) {
      throw new ServiceError(
        'malformed',
        `RTMP: chunk stream ${chunkStreamId} starts without a message header`,
      );
    }
    if (this.#streams.size >= this.limits.maxChunkStreams) {
      throw new ServiceError(
        'resource_exhausted',
        `RTMP: more than ${this.limits.maxChunkStreams} chunk streams`,
      );
    }
    return {
      timestampMs: 0,
      deltaMs: 0,
      extended: undefined,
      messageBytes: 0,
      typeId: 0,
      messageStreamId: 0,
      buffer: Buffer.alloc(0),
      received: 0,
    };
  }

  #readPayload(bytes: Buffer, offset: number, onMessage: (message: RtmpMessage) => void): number {
    const current = this.#current;
    if (current === undefined) {
      return 0;
    }
    const { stream } = current;
    const part = bytes.subarray(offset, offset + current.left);
    this.#append(stream, part);
    current.left -= part.length;
    if (current.left === 0) {
      this.#current = undefined;
    }
    if (stream.received === stream.messageBytes) {
      const payload = stream.buffer.subarray(0, stream.received);
      this.#forget(stream);
      this.#deliver(
        {
          typeId: stream.typeId,
          messageStreamId: stream.messageStreamId,
          timestampMs: stream.timestampMs,
          payload,
        },
        onMessage,
      );
    }
    return part.length;
  }

  #append(stream: ChunkStream, part: Buffer): void {
    this.#bufferedBytes += part.length;
    if (this.#bufferedBytes > this.limits.maxBufferedBytes) {
      throw new ServiceError(
        'resource_exhausted',
        `RTMP: unfinished messages hold more than ${this.limits.maxBufferedBytes} bytes`,
      );
    }
    const needed = stream.received + part.length;
    if (needed > stream.buffer.length) {
      const { maxTrustedBytes } = this.limits;
      const whole = stream.messageBytes <= maxTrustedBytes ? stream.messageBytes : 0;
      const wanted = Math.max(needed, stream.buffer.length * 2, FIRST_BUFFER_BYTES, whole);
      const bytes = Math.min(wanted, stream.messageBytes);
      const grown = maxTrustedBytes > 0 ? this.#slab.take(bytes) : Buffer.allocUnsafe(bytes);
      stream.buffer.copy(grown, 0, 0, stream.received);
      stream.buffer = grown;
    }
    part.copy(stream.buffer, stream.received);
    stream.received = needed;
  }

  #forget(stream: ChunkStream): void {
    this.#bufferedBytes -= stream.received;
    stream.buffer = Buffer.alloc(0);
    stream.received = 0;
  }

  #deliver(message: RtmpMessage, onMessage: (message: RtmpMessage) => void): void {
    switch (message.typeId) {
      case RTMP_MESSAGE.setChunkSize:
        this.#setChunkBytes(message.payload);
        return;
      case RTMP_MESSAGE.abort:
        this.#abort(message.payload);
        return;
      default:
        onMessage(message);
    }
  }

  #setChunkBytes(payload: Buffer): void {
    const chunkBytes = payload.length >= 4 ? payload.readUInt32BE(0) : 0;
    if (chunkBytes < 1 || chunkBytes > 0x7fffffff) {
      throw new ServiceError('malformed', `RTMP: chunk size ${chunkBytes} is not valid`);
    }
    this.#chunkBytes = Math.min(chunkBytes, MAX_CHUNK_BYTES);
  }

  #abort(payload: Buffer): void {
    const stream = payload.length >= 4 ? this.#streams.get(payload.readUInt32BE(0)) : undefined;
    if (stream !== undefined) {
      this.#forget(stream);
    }
  }
}

/** Cuts messages into chunks. One writer per connection; every message gets a full header. */
export class ChunkWriter {
  #chunkBytes = DEFAULT_CHUNK_BYTES;

  /** Takes effect for the messages written after the one that announces it. */
  setChunkBytes(chunkBytes: number): void {
    this.#chunkBytes = chunkBytes;
  }

  /** @param chunkStreamId 2 … 65599; 2 is kept for protocol control. */
  write(chunkStreamId: number, message: RtmpMessage): Buffer {
    const { payload } = message;
    const extended = message.timestampMs >= EXTENDED_TIMESTAMP;
    const header = Buffer.alloc(MESSAGE_HEADER_BYTES[0]);
    header.writeUIntBE(extended ? EXTENDED_TIMESTAMP : message.timestampMs, 0, 3);
    header.writeUIntBE(payload.length, 3, 3);
    header[6] = message.typeId;
    header.writeUInt32LE(message.messageStreamId, 7);
    const extendedTimestamp = Buffer.alloc(extended ? 4 : 0);
    if (extended) {
      extendedTimestamp.writeUInt32BE(message.timestampMs);
    }
    const parts = [basicHeader(0, chunkStreamId), header, extendedTimestamp];
    for (let offset = 0; offset < payload.length || offset === 0; offset += this.#chunkBytes) {
      if (offset > 0) {
        parts.push(basicHeader(3, chunkStreamId), extendedTimestamp);
      }
      parts.push(payload.subarray(offset, offset + this.#chunkBytes));
    }
    return Buffer.concat(parts);
  }
}

function basicHeader(format: number, chunkStreamId: number): Buffer {
  const top = format << 6;
  if (chunkStreamId < 64) {
    return Buffer.from([top | chunkStreamId]);
  }
  const rest = chunkStreamId - 64;
  return rest < 256 ? Buffer.from([top, rest]) : Buffer.from([top | 1, rest & 0xff, rest >> 8]);
}
