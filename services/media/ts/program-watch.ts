import { crc32Mpeg } from '../mux/crc32-mpeg.ts';

/** ISO/IEC 13818-1 section 2.4.3. */
const PACKET_BYTES = 188;
const SYNC = 0x47;
const PAT_PID = 0;
const TABLE = { programs: 0, streams: 2 } as const;
/** ISO/IEC 13818-1 table 2-34 and SCTE 35 section 8.1. */
const VIDEO_TYPES: ReadonlySet<number> = new Set([0x01, 0x02, 0x10, 0x1b, 0x24]);
const SPLICE_TYPE = 0x86;
const SECTION_HEADER_BYTES = 3;
const CRC_BYTES = 4;

export type ProgramEvents = {
  /** The program announces splices, and this is not the case all the time. */
  onSpliceStream: () => void;
  /** A splice_info_section that is whole. */
  onSplice: (section: Buffer) => void;
  /** Presentation time of what comes now, 90 kHz, 33 bits; only where splices are announced. */
  onTime: (ptsTicks: number) => void;
};

/** Looks at an MPEG-TS that passes by for the splice information of its first program. What cannot be read is skipped. */
export class ProgramWatch {
  readonly #events: ProgramEvents;
  readonly #sections = new Map<number, SectionAssembler>();
  #pmtPid: number | undefined;
  #splicePid: number | undefined;
  #clockPid: number | undefined;

  constructor(events: ProgramEvents) {
    this.#events = events;
  }

  /** @param packets whole ones, the first at the beginning. */
  push(packets: Buffer): void {
    for (let at = 0; at + PACKET_BYTES <= packets.length; at += PACKET_BYTES) {
      if (packets[at] !== SYNC) {
        return;
      }
      this.#onPacket(packets.subarray(at, at + PACKET_BYTES));
    }
  }

  #onPacket(packet: Buffer): void {
    const pid = packet.readUInt16BE(1) & 0x1fff;
    const isTable = pid === PAT_PID || pid === this.#pmtPid || pid === this.#splicePid;
    if (!isTable && (this.#splicePid === undefined || pid !== this.#clockPid)) {
      return;
    }
    const control = packet.readUInt8(3);
    const payload = packet.subarray(4 + ((control & 0x20) === 0 ? 0 : 1 + packet.readUInt8(4)));
    if ((control & 0x10) === 0 || payload.length === 0) {
      return;
    }
    const isStart = (packet.readUInt8(1) & 0x40) !== 0;
    if (isTable) {
      this.#onTable(pid, payload, isStart);
    } else if (isStart) {
      const ptsTicks = ptsOf(payload);
      if (ptsTicks !== undefined) {
        this.#events.onTime(ptsTicks);
      }
    }
  }

  #onTable(pid: number, payload: Buffer, isStart: boolean): void {
    const assembler = this.#sections.get(pid) ?? new SectionAssembler();
    this.#sections.set(pid, assembler);
    const section = assembler.push(payload, isStart);
    if (section === undefined) {
      return;
    }
    if (pid === this.#splicePid) {
      this.#events.onSplice(section);
    } else if (pid === PAT_PID && section[0] === TABLE.programs) {
      this.#pmtPid = firstProgram(section);
    } else if (pid === this.#pmtPid && section[0] === TABLE.streams) {
      this.#onStreams(streamsOf(section));
    }
  }

  #onStreams(streams: readonly { type: number; pid: number }[]): void {
    const media = streams.filter(({ type }) => type !== SPLICE_TYPE);
    this.#clockPid = (media.find(({ type }) => VIDEO_TYPES.has(type)) ?? media[0])?.pid;
    const splicePid = streams.find(({ type }) => type === SPLICE_TYPE)?.pid;
    if (splicePid !== undefined && this.#splicePid === undefined) {
      this.#events.onSpliceStream();
    }
    this.#splicePid = splicePid;
  }
}

/** One section at a time, from one packet or several. */
class SectionAssembler {
  #bytes: Buffer | undefined;

  /** @returns one that is whole and whose checksum is right. */
  push(payload: Buffer, isStart: boolean): Buffer | undefined {
    if (isStart) {
      this.#bytes = Buffer.from(payload.subarray(1 + payload.readUInt8(0)));
    } else if (this.#bytes !== undefined) {
      this.#bytes = Buffer.concat([this.#bytes, payload]);
    }
    const bytes = this.#bytes;
    if (bytes === undefined || bytes.length < SECTION_HEADER_BYTES) {
      return undefined;
    }
    const length = SECTION_HEADER_BYTES + (bytes.readUInt16BE(1) & 0xfff);
    if (bytes.length < length) {
      return undefined;
    }
    this.#bytes = undefined;
    const section = bytes.subarray(0, length);
    return length > SECTION_HEADER_BYTES + CRC_BYTES && crc32Mpeg(section) === 0 ? section : undefined;
  }
}

/** Program number 0 is the network's. */
function firstProgram(section: Buffer): number | undefined {
  for (let at = 8; at + 4 <= section.length - CRC_BYTES; at += 4) {
    if (section.readUInt16BE(at) !== 0) {
      return section.readUInt16BE(at + 2) & 0x1fff;
    }
  }
  return undefined;
}

function streamsOf(section: Buffer): { type: number; pid: number }[] {
  const streams: { type: number; pid: number }[] = [];
  const end = section.length - CRC_BYTES;
  let at = end >= 12 ? 12 + (section.readUInt16BE(10) & 0xfff) : end;
  while (at + 5 <= end) {
    streams.push({ type: section.readUInt8(at), pid: section.readUInt16BE(at + 1) & 0x1fff });
    at += 5 + (section.readUInt16BE(at + 3) & 0xfff);
  }
  return streams;
}

/** ISO/IEC 13818-1 section 2.4.3.6. */
function ptsOf(pes: Buffer): number | undefined {
  if (pes.length < 14 || pes.readUIntBE(0, 3) !== 1 || (pes.readUInt8(7) & 0x80) === 0) {
    return undefined;
  }
  const high = (pes.readUInt8(9) >> 1) & 7;
  return high * 2 ** 30 + (pes.readUInt16BE(10) >> 1) * 2 ** 15 + (pes.readUInt16BE(12) >> 1);
}
