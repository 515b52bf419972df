import { ServiceError } from '../../base/errors.ts';

export type MatroskaTrack = {
  number: number;
  kind: 'video' | 'audio' | 'other';
  /** V_VP8, A_OPUS… (RFC 9559 section 27; Matroska codec specifications). */
  codecId: string;
  /** avcC, hvcC, av1C, AudioSpecificConfig, OpusHead; empty where the codec has none. */
  codecPrivate: Buffer;
  width: number;
  height: number;
  channels: number;
  sampleRateHz: number;
};

/** One block. @see MatroskaReader */
export type MatroskaPacket = { track: MatroskaTrack; ptsUs: number; key: boolean; data: Buffer };

/** Element ids, RFC 9559 section 5. */
const ID = {
  ebml: 0x1a45dfa3,
  segment: 0x18538067,
  info: 0x1549a966,
  timestampScale: 0x2ad7b1,
  tracks: 0x1654ae6b,
  trackEntry: 0xae,
  trackNumber: 0xd7,
  trackType: 0x83,
  codecId: 0x86,
  codecPrivate: 0x63a2,
  video: 0xe0,
  pixelWidth: 0xb0,
  pixelHeight: 0xba,
  audio: 0xe1,
  samplingFrequency: 0xb5,
  channels: 0x9f,
  cluster: 0x1f43b675,
  timestamp: 0xe7,
  simpleBlock: 0xa3,
  blockGroup: 0xa0,
  block: 0xa1,
  referenceBlock: 0xfb,
} as const;

/** Their children are read one by one, because their end may be unknown or far away. */
const ENTERED: ReadonlySet<number> = new Set([ID.segment, ID.cluster]);
const MAX_ELEMENT_BYTES = 32_000_000;
const MAX_HEADER_BYTES = 12;
const KEY_FLAG = 0x80;
const LACING_FLAGS = 0x06;

type Element = { id: number; start: number; end: number };

/**
 * Takes packets out of a Matroska or WebM byte stream as it arrives (RFC 8794, RFC 9559): what ffmpeg writes to a
 * pipe. Of all its output formats it alone carries every codec of a room untouched. Times are presentation times.
 */
export class MatroskaReader {
  #buffer: Buffer = Buffer.alloc(0);
  #scaleNs = 1_000_000;
  #clusterTicks = 0;
  #tracks: MatroskaTrack[] | undefined;
  #hasBegun = false;

  /** Undefined until the header has been read. */
  get tracks(): readonly MatroskaTrack[] | undefined {
    return this.#tracks;
  }

  /** @throws ServiceError malformed when the stream is not Matroska, or an element is larger than 32 MB. */
  push(bytes: Uint8Array): MatroskaPacket[] {
    this.#buffer = this.#buffer.length === 0 ? Buffer.from(bytes) : Buffer.concat([this.#buffer, bytes]);
    const packets: MatroskaPacket[] = [];
    let offset = 0;
    for (;;) {
      const element = readElement(this.#buffer, offset);
      if (element === undefined) {
        break;
      }
      if (!this.#hasBegun && element.id !== ID.ebml) {
        throw new ServiceError('malformed', 'the stream is not Matroska');
      }
      this.#hasBegun = true;
      if (ENTERED.has(element.id)) {
        offset = element.start;
        continue;
      }
      if (element.end > this.#buffer.length) {
        break;
      }
      this.#take(element, packets);
      offset = element.end;
    }
    this.#buffer = this.#buffer.subarray(offset);
    return packets;
  }

  #take(element: Element, packets: MatroskaPacket[]): void {
    const payload = this.#buffer.subarray(element.start, element.end);
    switch (element.id) {
      case ID.info: {
        const scale = children(payload).find(({ id }) => id === ID.timestampScale);
        this.#scaleNs = scale === undefined ? this.#scaleNs : unsigned(payload, scale);
        break;
      }
      case ID.tracks:
        this.#tracks = children(payload)
          .filter(({ id }) => id === ID.trackEntry)
          .map(({ start, end }) => trackOf(payload.subarray(start, end)));
        break;
      case ID.timestamp:
        this.#clusterTicks = unsigned(this.#buffer, element);
        break;
      case ID.simpleBlock:
        this.#block(payload, ((payload[3] ?? 0) & KEY_FLAG) !== 0, packets);
        break;
      case ID.blockGroup: {
        const parts = children(payload);
        const block = parts.find(({ id }) => id === ID.block);
        if (block !== undefined) {
          const key = !parts.some(({ id }) => id === ID.referenceBlock);
          this.#block(payload.subarray(block.start, block.end), key, packets);
        }
        break;
      }
      default:
      // Seek heads, tags, cues, padding.
    }
  }

  /** Section 10: track number, time relative to the cluster, flags, frame. */
  #block(block: Buffer, key: boolean, packets: MatroskaPacket[]): void {
    const number = readVint(block, 0);
    if (number === undefined || block.length < number.length + 3) {
      throw new ServiceError('malformed', `Matroska block of ${block.length} bytes is cut off`);
    }
    const track = this.#tracks?.find((candidate) => candidate.number === number.value);
    if (track === undefined) {
      return;
    }
    const flags = block.readUInt8(number.length + 2);
    if ((flags & LACING_FLAGS) !== 0) {
      throw new ServiceError('malformed', 'Matroska block with lacing, which ffmpeg does not write');
    }
    const ticks = this.#clusterTicks + block.readInt16BE(number.length);
    packets.push({
      track,
      ptsUs: Math.round((ticks * this.#scaleNs) / 1000),
      key,
      data: block.subarray(number.length + 3),
    });
  }
}

function trackOf(entry: Buffer): MatroskaTrack {
  const track: MatroskaTrack = {
    ...{ number: 0, kind: 'other', codecId: '', codecPrivate: Buffer.alloc(0) },
    ...{ width: 0, height: 0, channels: 1, sampleRateHz: 8000 },
  };
  for (const element of [...children(entry)]) {
    const payload = entry.subarray(element.start, element.end);
    switch (element.id) {
      case ID.trackNumber:
        track.number = unsigned(entry, element);
        break;
      case ID.trackType: {
        const type = unsigned(entry, element);
        track.kind = type === 1 ? 'video' : type === 2 ? 'audio' : 'other';
        break;
      }
      case ID.codecId:
        track.codecId = payload.toString('latin1').replace(/\0+$/, '');
        break;
      case ID.codecPrivate:
        track.codecPrivate = Buffer.from(payload);
        break;
      case ID.video:
      case ID.audio:
        readMedia(payload, track);
        break;
      default:
    }
  }
  return track;
}

function readMedia(payload: Buffer, track: MatroskaTrack): void {
  for (const element of children(payload)) {
    switch (element.id) {
      case ID.pixelWidth:
        track.width = unsigned(payload, element);
        break;
      case ID.pixelHeight:
        track.height = unsigned(payload, element);
        break;
      case ID.channels:
        track.channels = unsigned(payload, element);
        break;
      case ID.samplingFrequency:
        track.sampleRateHz = float(payload, element);
        break;
      default:
    }
  }
}

function children(payload: Buffer): Element[] {
  const found: Element[] = [];
  for (let offset = 0; offset < payload.length;) {
    const element = readElement(payload, offset);
    if (element === undefined || element.end > payload.length) {
      throw new ServiceError('malformed', 'Matroska element is longer than the one around it');
    }
    found.push(element);
    offset = element.end;
  }
  return found;
}

/** Undefined while its header is not complete. An unknown size reaches to infinity. */
function readElement(buffer: Buffer, offset: number): Element | undefined {
  const id = readVint(buffer, offset, true);
  const size = id === undefined ? undefined : readVint(buffer, offset + id.length);
  if (id === undefined || size === undefined) {
    if (buffer.length - offset >= MAX_HEADER_BYTES) {
      throw new ServiceError('malformed', 'the stream is not Matroska');
    }
    return undefined;
  }
  if (!ENTERED.has(id.value) && size.value > MAX_ELEMENT_BYTES) {
    throw new ServiceError('malformed', `Matroska element of ${size.value} bytes is too large`);
  }
  const start = offset + id.length + size.length;
  return { id: id.value, start, end: start + size.value };
}

/** RFC 8794 section 4. @param keepMarker ids are written with their length bit. */
function readVint(
  buffer: Buffer,
  offset: number,
  keepMarker = false,
): { value: number; length: number } | undefined {
  const first = buffer[offset];
  if (first === undefined) {
    return undefined;
  }
  const length = Math.clz32(first) - 23;
  if (length > 8 || offset + length > buffer.length) {
    return undefined;
  }
  let value = keepMarker ? first : first & (0xff >> length);
  let isUnknown = (first | ((0xff << (8 - length)) & 0xff)) === 0xff;
  for (let index = 1; index < length; index++) {
    const byte = buffer.readUInt8(offset + index);
    value = value * 256 + byte;
    isUnknown &&= byte === 0xff;
  }
  return { value: isUnknown && !keepMarker ? Number.POSITIVE_INFINITY : value, length };
}

function float(buffer: Buffer, { start, end }: Element): number {
  switch (end - start) {
    case 4:
      return buffer.readFloatBE(start);
    case 8:
      return buffer.readDoubleBE(start);
    default:
      throw new ServiceError('malformed', `Matroska number of ${end - start} bytes`);
  }
}

function unsigned(buffer: Buffer, { start, end }: Element): number {
  let value = 0;
  for (let offset = start; offset < end; offset++) {
    value = value * 256 + buffer.readUInt8(offset);
  }
  return value;
}
