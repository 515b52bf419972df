import { ServiceError } from '../../base/errors.ts';
import type { AudioFormat, EncodedPacket, TrackFormat } from '../../model/packet.ts';
import { buildAdtsHeader, parseAacConfig, type AacConfig } from '../codecs/aac.ts';
import { NAL_TYPE } from '../codecs/h264.ts';
import { crc32Mpeg } from './crc32-mpeg.ts';

/** ISO/IEC 13818-1. */
const PACKET_BYTES = 188;
const SYNC = 0x47;
const PMT_PID = 0x1000;
const PROGRAM = 1;
const TRACKS = {
  video: { pid: 0x100, streamType: 0x1b, streamId: 0xe0 },
  audio: { pid: 0x101, streamType: 0x0f, streamId: 0xc0 },
} as const;
/** Time stamps may not be negative, and decoders need the clock ahead of what it times. */
const TIME_OFFSET_90KHZ = 126_000;
const CLOCK_LEAD_90KHZ = 63_000;
const WRAP = 2 ** 33;
const DELIMITER = Uint8Array.of(0, 0, 0, 1, NAL_TYPE.accessUnitDelimiter, 0xf0);

type Kind = 'video' | 'audio';

/**
 * H.264 and AAC as an MPEG transport stream, one call per packet and nothing held back. Continuity counters and time
 * stamps run on over `tables()`, so that segments cut there play one behind the other.
 */
export class TsMuxer {
  readonly #kinds: readonly Kind[];
  readonly #counters = new Map<number, number>();
  #aac: AacConfig | undefined;

  constructor(kinds: readonly Kind[]) {
    this.#kinds = kinds;
  }

  /** @throws ServiceError unimplemented for any other codec; malformed for a bad AAC description. */
  addTrack(format: TrackFormat): void {
    if (format.codec !== 'h264' && format.codec !== 'aac') {
      throw new ServiceError('unimplemented', `transport streams hold h264, aac, not ${format.codec}`);
    }
    if (format.kind === 'audio') {
      this.#aac = configOf(format);
    }
  }

  /** Program tables: the first two packets of a file. */
  tables(): Buffer {
    const clockPid = this.#kinds.includes('video') ? TRACKS.video.pid : TRACKS.audio.pid;
    const association = section(0x00, PROGRAM, [...uint16(PROGRAM), ...uint16(0xe000 | PMT_PID)]);
    const streams = this.#kinds.flatMap((kind) => {
      const { streamType, pid } = TRACKS[kind];
      return [streamType, ...uint16(0xe000 | pid), ...uint16(0xf000)];
    });
    const map = section(0x02, PROGRAM, [...uint16(0xe000 | clockPid), ...uint16(0xf000), ...streams]);
    return Buffer.concat([this.#tablePacket(0, association), this.#tablePacket(PMT_PID, map)]);
  }

  /** The packet as whole transport packets; empty for a track that is not part of the stream. */
  mux(packet: EncodedPacket): Buffer {
    if (!this.#kinds.includes(packet.kind)) {
      return Buffer.alloc(0);
    }
    const pes = packet.kind === 'video' ? this.#videoPes(packet) : this.#audioPes(packet);
    const carriesClock = packet.kind === 'video' || !this.#kinds.includes('video');
    const clock = carriesClock ? ticks(packet.dtsUs) - CLOCK_LEAD_90KHZ : undefined;
    return this.#split(TRACKS[packet.kind].pid, pes, clock, packet.key);
  }

  #videoPes(packet: EncodedPacket): Buffer {
    const delimiter = startsWithDelimiter(packet.data) ? new Uint8Array() : DELIMITER;
    // Length 0 = until the next start, allowed for video.
    return Buffer.concat([pesHeader(TRACKS.video.streamId, packet, 0), delimiter, packet.data]);
  }

  #audioPes(packet: EncodedPacket): Buffer {
    if (this.#aac === undefined) {
      throw new ServiceError('internal', 'an AAC packet came before its format');
    }
    const adts = buildAdtsHeader(this.#aac, packet.data.length);
    const payloadBytes = adts.length + packet.data.length;
    return Buffer.concat([pesHeader(TRACKS.audio.streamId, packet, payloadBytes), adts, packet.data]);
  }

  #tablePacket(pid: number, bytes: Buffer): Buffer {
    const packet = Buffer.alloc(PACKET_BYTES, 0xff);
    packet.set([SYNC, 0x40 | (pid >> 8), pid & 0xff, 0x10 | this.#nextCounter(pid), 0]);
    bytes.copy(packet, 5);
    return packet;
  }

  #split(pid: number, pes: Buffer, clock: number | undefined, isRandomAccess: boolean): Buffer {
    const first = clock === undefined ? 0 : 8;
    const count = Math.ceil((pes.length + first) / (PACKET_BYTES - 4));
    const out = Buffer.alloc(count * PACKET_BYTES, 0xff);
    let taken = 0;
    for (let index = 0; index < count; index += 1) {
      const at = index * PACKET_BYTES;
      const isFirst = index === 0;
      const needed = isFirst ? first : 0;
      const payload = Math.min(pes.length - taken, PACKET_BYTES - 4 - needed);
      const adaptation = PACKET_BYTES - 4 - payload;
      out[at] = SYNC;
      out[at + 1] = (isFirst ? 0x40 : 0) | (pid >> 8);
      out[at + 2] = pid & 0xff;
      out[at + 3] = (adaptation > 0 ? 0x30 : 0x10) | this.#nextCounter(pid);
      if (adaptation > 0) {
        out[at + 4] = adaptation - 1;
      }
      if (adaptation > 1) {
        out[at + 5] = 0;
      }
      if (isFirst && clock !== undefined) {
        out[at + 5] = (isRandomAccess ? 0x40 : 0) | 0x10;
        writeClock(out, at + 6, clock);
      }
      pes.copy(out, at + 4 + adaptation, taken, taken + payload);
      taken += payload;
    }
    return out;
  }

  #nextCounter(pid: number): number {
    const counter = this.#counters.get(pid) ?? 0;
    this.#counters.set(pid, (counter + 1) & 15);
    return counter;
  }
}

function configOf(format: AudioFormat): AacConfig {
  if (format.description === undefined) {
    throw new ServiceError('internal', 'AAC without its configuration');
  }
  return parseAacConfig(format.description);
}

/** Section 2.4.4: table id, length, id, version 0, one section, content, checksum. */
function section(tableId: number, id: number, content: readonly number[]): Buffer {
  const length = content.length + 9;
  const body = Buffer.from([tableId, ...uint16(0xb000 | length), ...uint16(id), 0xc1, 0, 0, ...content]);
  const checksum = Buffer.alloc(4);
  checksum.writeUInt32BE(crc32Mpeg(body));
  return Buffer.concat([body, checksum]);
}

/** Section 2.4.3.6. */
function pesHeader(streamId: number, packet: EncodedPacket, payloadBytes: number): Buffer {
  const pts = ticks(packet.ptsUs);
  const dts = ticks(packet.dtsUs);
  const stamps = pts === dts ? timeStamp(2, pts) : [...timeStamp(3, pts), ...timeStamp(1, dts)];
  const length = payloadBytes === 0 ? 0 : payloadBytes + 3 + stamps.length;
  return Buffer.from([
    ...[0, 0, 1, streamId, ...uint16(length > 0xffff ? 0 : length)],
    ...[0x84, pts === dts ? 0x80 : 0xc0, stamps.length, ...stamps],
  ]);
}

function ticks(us: number): number {
  return Math.max(0, Math.round((us * 9) / 100) + TIME_OFFSET_90KHZ);
}

/** 33 bits in five bytes with marker bits between; wraps after 26 hours. */
function timeStamp(prefix: number, ticks90Khz: number): number[] {
  const value = ticks90Khz % WRAP;
  const high = Math.floor(value / 2 ** 30);
  const middle = Math.floor(value / 2 ** 15) & 0x7fff;
  const low = value % 2 ** 15;
  return [
    (prefix << 4) | (high << 1) | 1,
    middle >> 7,
    ((middle & 0x7f) << 1) | 1,
    low >> 7,
    ((low & 0x7f) << 1) | 1,
  ];
}

/** Section 2.4.3.5: 33 bits of 90 kHz, six reserved, nine of 27 MHz that are not used. */
function writeClock(out: Buffer, offset: number, ticks90Khz: number): void {
  const value = ((ticks90Khz % WRAP) + WRAP) % WRAP;
  out.writeUInt32BE(Math.floor(value / 2), offset);
  out[offset + 4] = ((value % 2) << 7) | 0x7e;
  out[offset + 5] = 0;
}

function uint16(value: number): [number, number] {
  return [value >> 8, value & 0xff];
}

function startsWithDelimiter(data: Uint8Array): boolean {
  const start = data[2] === 1 ? 3 : 4;
  return ((data[start] ?? 0) & 0x1f) === NAL_TYPE.accessUnitDelimiter;
}
