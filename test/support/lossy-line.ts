import { parseRtcp } from '../../services/media/rtp/rtcp.ts';
import { rtpSequenceNumber, rtpSsrc } from '../../services/media/rtp/rtp-header.ts';

export type LineOptions = {
  /** What never arrives; packets that are sent again are asked about again. Not asked about RTCP. */
  isLost?: (packet: { ssrc: number; isRepeat: boolean }) => boolean;
  /** The sources whose packets are sent again on a NACK (RFC 4585 section 6.2.1); by default none. */
  repairs?: (ssrc: number) => boolean;
};

/** Packets kept for repairs, as OBS does. */
const KEPT_PACKETS = 4_000;
const SENDER_REPORT = 200;
const SSRC_STEP = 0x10_000;
const SEQUENCE_STEP = 12_345;
const TIMESTAMP_STEP = 123_456_789;

/** The way of an encoder's packets to its connection. */
export class LossyLine {
  /** By source. */
  readonly lost = new Map<number, number>();
  readonly repaired = new Map<number, number>();
  readonly #options: LineOptions;
  readonly #kept = new Map<string, Buffer>();
  #generation = 0;

  constructor(options: LineOptions) {
    this.#options = options;
  }

  /** From now on every source has another SSRC, and its numbers and times begin elsewhere. */
  changeSources(): void {
    this.#generation += 1;
  }

  /** Undefined: lost. */
  take(packet: Buffer): Buffer | undefined {
    const moved = this.#generation === 0 ? packet : this.#move(packet);
    if (isRtcp(moved)) {
      return moved;
    }
    const ssrc = rtpSsrc(moved);
    if (this.#options.repairs?.(ssrc) === true) {
      this.#keep(ssrc, rtpSequenceNumber(moved), moved);
    }
    return this.#pass(ssrc, moved, false);
  }

  /** What the encoder answers to a packet of the other side. */
  onRtcp(compound: Buffer): Buffer[] {
    const repeated: Buffer[] = [];
    for (const packet of parseRtcp(compound)) {
      if (packet.type !== 'nack') {
        continue;
      }
      for (const sequence of packet.sequenceNumbers) {
        const kept = this.#kept.get(keyOf(packet.mediaSsrc, sequence));
        const passed = kept && this.#pass(packet.mediaSsrc, kept, true);
        if (passed !== undefined) {
          count(this.repaired, packet.mediaSsrc);
          repeated.push(passed);
        }
      }
    }
    return repeated;
  }

  #pass(ssrc: number, packet: Buffer, isRepeat: boolean): Buffer | undefined {
    if (this.#options.isLost?.({ ssrc, isRepeat }) === true) {
      count(this.lost, ssrc);
      return undefined;
    }
    return packet;
  }

  #keep(ssrc: number, sequence: number, packet: Buffer): void {
    this.#kept.set(keyOf(ssrc, sequence), packet);
    const [oldest] = this.#kept.keys();
    if (this.#kept.size > KEPT_PACKETS && oldest !== undefined) {
      this.#kept.delete(oldest);
    }
  }

  #move(packet: Buffer): Buffer {
    const moved = Buffer.from(packet);
    const [ssrcAt, timestampAt] = isRtcp(moved) ? [4, 16] : [8, 4];
    moved.writeUInt32BE((moved.readUInt32BE(ssrcAt) + this.#generation * SSRC_STEP) >>> 0, ssrcAt);
    if (!isRtcp(moved)) {
      moved.writeUInt16BE((moved.readUInt16BE(2) + this.#generation * SEQUENCE_STEP) & 0xffff, 2);
    }
    if (!isRtcp(moved) || moved[1] === SENDER_REPORT) {
      const timestamp = moved.readUInt32BE(timestampAt) + this.#generation * TIMESTAMP_STEP;
      moved.writeUInt32BE(timestamp % 2 ** 32, timestampAt);
    }
    return moved;
  }
}

/** RFC 5761 section 4. */
function isRtcp(packet: Buffer): boolean {
  const type = packet[1] ?? 0;
  return type >= 192 && type <= 223;
}

function keyOf(ssrc: number, sequence: number): string {
  return `${ssrc}/${sequence}`;
}

function count(counts: Map<number, number>, ssrc: number): void {
  counts.set(ssrc, (counts.get(ssrc) ?? 0) + 1);
}
