/** Bytes of one MPEG-TS packet. */
const PACKET_BYTES = 188;
const SYNC = 0x47;
const PAT_PID = 0;
const SPLICE_PID = 0x1f0;
/** SCTE 35 section 8.1: its stream type, and the registration that goes with it. */
const SPLICE_STREAM = [0x86, 0xe0 | (SPLICE_PID >> 8), SPLICE_PID & 0xff, 0xf0, 0] as const;
const CUEI_REGISTRATION = [0x05, 0x04, 0x43, 0x55, 0x45, 0x49] as const;
const PTS_HZ = 90_000;

export type Splice = {
  /** In the stream, seconds behind its first picture. */
  sentAtS: number;
  eventId: number;
  outOfNetwork: boolean;
  /** When it counts; absent: at once. */
  atS?: number;
  cancel?: boolean;
};

/** An MPEG-TS file of ffmpeg with splice information (SCTE 35) put in between. */
export function withSplices(ts: Buffer, splices: readonly Splice[]): Buffer {
  const waiting = [...splices];
  const out: Buffer[] = [];
  let pmtPid = -1;
  let firstPts: number | undefined;
  let counter = 0;
  for (let offset = 0; offset + PACKET_BYTES <= ts.length; offset += PACKET_BYTES) {
    const packet = Buffer.from(ts.subarray(offset, offset + PACKET_BYTES));
    const pid = packet.readUInt16BE(1) & 0x1fff;
    const isStart = (packet.readUInt8(1) & 0x40) !== 0;
    if (pid === PAT_PID && isStart) {
      pmtPid = packet.readUInt16BE(5 + 8 + 2) & 0x1fff;
    }
    const pts = isStart ? ptsOf(packet) : undefined;
    firstPts ??= pts;
    while (pts !== undefined && firstPts !== undefined) {
      const [next] = waiting;
      if (next === undefined || pts < firstPts + next.sentAtS * PTS_HZ) {
        break;
      }
      waiting.shift();
      out.push(packetOf(SPLICE_PID, counter++, spliceSection(next, firstPts)));
    }
    out.push(pid === pmtPid && isStart ? withSpliceStream(packet) : packet);
  }
  return Buffer.concat(out);
}

/** Of a picture; sound begins elsewhere. */
function ptsOf(packet: Buffer): number | undefined {
  const hasAdaptation = (packet.readUInt8(3) & 0x20) !== 0;
  const at = 4 + (hasAdaptation ? 1 + packet.readUInt8(4) : 0);
  if (
    at + 14 > PACKET_BYTES ||
    packet.readUIntBE(at, 3) !== 1 ||
    (packet.readUInt8(at + 3) & 0xf0) !== 0xe0
  ) {
    return undefined;
  }
  const high = (packet.readUInt8(at + 9) >> 1) & 7;
  return high * 2 ** 30 + ((packet.readUInt16BE(at + 10) >> 1) << 15) + (packet.readUInt16BE(at + 12) >> 1);
}

/** The program map (ISO/IEC 13818-1 section 2.4.4.8) with one more stream. */
function withSpliceStream(packet: Buffer): Buffer {
  const start = 5;
  const length = packet.readUInt16BE(start + 1) & 0xfff;
  const body = packet.subarray(start, start + 3 + length - 4);
  const programInfo = body.readUInt16BE(10) & 0xfff;
  const head = Buffer.from(body.subarray(0, 12));
  head.writeUInt16BE(0xf000 | (programInfo + CUEI_REGISTRATION.length), 10);
  const section = Buffer.concat([
    ...[head, Buffer.from(CUEI_REGISTRATION), body.subarray(12)],
    Buffer.from(SPLICE_STREAM),
  ]);
  section.writeUInt16BE(0xb000 | (section.length - 3 + 4), 1);
  return packetOf(packet.readUInt16BE(1) & 0x1fff, packet.readUInt8(3) & 15, withCrc(section));
}

/** SCTE 35 section 9.7.3, splice_insert for the whole program. */
export function spliceSection(
  { eventId, outOfNetwork, atS, cancel = false }: Splice,
  firstPts: number,
): Buffer {
  const event = Buffer.alloc(5);
  event.writeUInt32BE(eventId);
  event[4] = cancel ? 0xff : 0x7f;
  const flags = (outOfNetwork ? 0x80 : 0) | 0x40 | (atS === undefined ? 0x10 : 0) | 0x0f;
  const time = Buffer.alloc(atS === undefined ? 0 : 5);
  if (atS !== undefined) {
    time.writeUIntBE(0xfe_0000_0000 + (Math.round(firstPts + atS * PTS_HZ) % 2 ** 33), 0, 5);
  }
  const command = cancel
    ? event
    : Buffer.concat([event, Buffer.from([flags]), time, Buffer.from([0, 1, 0, 0])]);
  const head = Buffer.from([0xfc, 0x30, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xf0 | (command.length >> 8)]);
  const section = Buffer.concat([
    ...[head, Buffer.from([command.length & 0xff, 5]), command],
    Buffer.from([0, 0]),
  ]);
  section.writeUInt16BE(0x3000 | (section.length - 3 + 4), 1);
  return withCrc(section);
}

/** A section in one packet of its own. */
function packetOf(pid: number, counter: number, section: Buffer): Buffer {
  const packet = Buffer.alloc(PACKET_BYTES, 0xff);
  Buffer.from([SYNC, 0x40 | (pid >> 8), pid & 0xff, 0x10 | (counter & 15), 0]).copy(packet);
  section.copy(packet, 5);
  return packet;
}

/** CRC-32 of MPEG-2 (ISO/IEC 13818-1 annex A). */
function withCrc(section: Buffer): Buffer {
  let crc = 0xffff_ffff;
  for (const byte of section) {
    crc ^= byte << 24;
    for (let bit = 0; bit < 8; bit += 1) {
      crc = (crc & 0x8000_0000) === 0 ? crc << 1 : (crc << 1) ^ 0x04c1_1db7;
    }
  }
  const sum = Buffer.alloc(4);
  sum.writeUInt32BE(crc >>> 0);
  return Buffer.concat([section, sum]);
}
