import { sequenceDistance } from '../../media/rtp/sequence.ts';
import { compactNtp } from '../../media/rtp/ntp.ts';
import type { ReceptionReport, SenderReport } from '../../media/rtp/rtcp.ts';
import { NackGenerator } from './nack-generator.ts';
import { StreamClock } from './publisher-clock.ts';

/**
 * Packets kept, powers of two. `repairs`: about 2.5 s of a 2 Mbit/s layer. `pictures`: for a group of pictures of 10 s at
 * 6 Mbit/s, at most about 10 MB of a layer.
 */
const HISTORY_SIZE = { repairs: 512, pictures: 8192 } as const;
export type HistoryPurpose = keyof typeof HISTORY_SIZE;

/** Kept payloads get memory in steps of this, so that it can be used again for one of about the same length. */
const PAYLOAD_STEP_BYTES = 256;

/** Above this distance a sequence number is a restart of the sender, not a gap. */
const MAX_JUMP = 3000;

export type StreamRole =
  { kind: 'media'; layer: number; rid: string } | { kind: 'rtx'; repairs: InboundStream };

/**
 * One SSRC as it arrives: extended sequence numbers, RFC 3550 statistics, missing packets, and the decrypted payloads of
 * the last packets for retransmission. Extended sequence numbers start around 65536, so they are never negative.
 */
export class InboundStream {
  readonly ssrc: number;
  readonly role: StreamRole;
  readonly clock: StreamClock;
  readonly nack: NackGenerator | undefined;
  readonly #clockRateHz: number;
  readonly #payloads: (Buffer | undefined)[] = [];
  /** Dependency descriptors, filled for the codecs that need them. */
  readonly #descriptors: (Buffer | undefined)[] = [];
  readonly #historyMask: number;
  readonly #sequences: Float64Array;
  readonly #timestamps: Uint32Array;
  readonly #markers: Uint8Array;
  /** Set when a gap was too large to be repaired by retransmission; cleared by the reader. */
  needsKeyframe = false;
  /** Monotonic; -Infinity before the first packet. */
  lastPacketMs = Number.NEGATIVE_INFINITY;
  packets = 0;
  bytes = 0;
  recovered = 0;
  #highest = -1;
  #first = 0;
  #received = 0;
  #expectedBefore = 0;
  #receivedBefore = 0;
  #jitter = 0;
  #transitBefore = Number.NaN;
  #lastReportCompact = 0;
  #lastReportMs = 0;
  #bytesAtRate = 0;
  #rateAtMs = 0;
  #bitrateKbps = 0;

  constructor(options: {
    ssrc: number;
    role: StreamRole;
    clockRateHz: number;
    nack: boolean;
    history?: HistoryPurpose;
  }) {
    const size = HISTORY_SIZE[options.history ?? 'repairs'];
    this.#historyMask = size - 1;
    this.#sequences = new Float64Array(size).fill(-1);
    this.#timestamps = new Uint32Array(size);
    this.#markers = new Uint8Array(size);
    this.ssrc = options.ssrc;
    this.role = options.role;
    this.#clockRateHz = options.clockRateHz;
    this.clock = new StreamClock(options.clockRateHz);
    this.nack = options.nack ? new NackGenerator() : undefined;
  }

  get bitrateKbps(): number {
    return this.#bitrateKbps;
  }

  get highestSequence(): number {
    return this.#highest;
  }

  /** RFC 3550 §A.3. Retransmissions over RTX do not count, the packet was lost once. */
  get lost(): number {
    return this.#highest < 0 ? 0 : Math.max(0, this.#highest - this.#first + 1 - this.#received);
  }

  /** Extends a 16-bit sequence number without counting it as an arrival (for RTX and NACK). */
  extend(sequenceNumber: number): number {
    return this.#highest < 0
      ? 0x1_0000 + sequenceNumber
      : this.#highest + sequenceDistance(sequenceNumber, this.#highest & 0xffff);
  }

  /** Counts a packet that arrived on this SSRC and returns its extended sequence number. */
  onPacket(sequenceNumber: number, timestamp: number, octets: number, nowMs: number): number {
    let sequence = this.extend(sequenceNumber);
    if (this.#highest < 0) {
      this.#first = sequence;
      this.#highest = sequence - 1;
    } else if (Math.abs(sequence - this.#highest) > MAX_JUMP) {
      sequence = this.#restart(sequenceNumber);
    }
    this.packets += 1;
    this.#received += 1;
    this.bytes += octets;
    this.lastPacketMs = nowMs;
    if (sequence > this.#highest) {
      if (sequence > this.#highest + 1 && this.nack?.onGap(this.#highest, sequence, nowMs) === false) {
        this.needsKeyframe = true;
      }
      this.#highest = sequence;
    } else {
      this.nack?.onArrival(sequence);
    }
    this.#measureJitter(timestamp, nowMs);
    return sequence;
  }

  #measureJitter(timestamp: number, nowMs: number): void {
    const transit = (nowMs * this.#clockRateHz) / 1000 - timestamp;
    if (!Number.isNaN(this.#transitBefore)) {
      const difference = Math.abs(transit - this.#transitBefore);
      // A timestamp wrap or a restart is not jitter.
      if (difference < this.#clockRateHz * 10) {
        this.#jitter += (difference - this.#jitter) / 16;
      }
    }
    this.#transitBefore = transit;
  }

  /** The sender began a new sequence: statistics start over, the extended numbers go on upwards. */
  #restart(sequenceNumber: number): number {
    const sequence = this.#highest + ((sequenceNumber - this.#highest) & 0xffff);
    this.#first = sequence;
    this.#highest = sequence - 1;
    this.#received = 0;
    this.#expectedBefore = 0;
    this.#receivedBefore = 0;
    this.needsKeyframe = true;
    return sequence;
  }

  /** Keeps a copy of the payload for retransmission. Returns false when this packet is there already. */
  store(
    sequence: number,
    timestamp: number,
    marker: boolean,
    payload: Buffer,
    descriptor: Buffer | undefined,
  ): boolean {
    const slot = sequence & this.#historyMask;
    if (this.#sequences[slot] === sequence) {
      return false;
    }
    this.#sequences[slot] = sequence;
    this.#timestamps[slot] = timestamp;
    this.#markers[slot] = marker ? 1 : 0;
    this.#keep(slot, payload);
    if (descriptor !== undefined || this.#descriptors.length > 0) {
      this.#descriptors[slot] = descriptor === undefined ? undefined : Buffer.from(descriptor);
    }
    return true;
  }

  /**
   * Copies into the memory of the packet that was in this slot. Keeping the packets themselves would let everything a
   * packet leaves behind grow old before it is collected, which costs far more than copying.
   */
  #keep(slot: number, payload: Buffer): void {
    let kept = this.#payloads[slot];
    if (kept === undefined || kept.buffer.byteLength < payload.length) {
      const size = Math.ceil(payload.length / PAYLOAD_STEP_BYTES) * PAYLOAD_STEP_BYTES;
      kept = Buffer.allocUnsafeSlow(size);
    }
    if (kept.length !== payload.length) {
      kept = Buffer.from(kept.buffer, 0, payload.length);
    }
    kept.set(payload);
    this.#payloads[slot] = kept;
  }

  /** Undefined when the packet never came or is too old. Valid until the packet is. */
  payloadOf(sequence: number): Buffer | undefined {
    const slot = sequence & this.#historyMask;
    return this.#sequences[slot] === sequence ? this.#payloads[slot] : undefined;
  }

  descriptorOf(sequence: number): Buffer | undefined {
    return this.#descriptors[sequence & this.#historyMask];
  }

  timestampOf(sequence: number): number {
    return this.#timestamps[sequence & this.#historyMask] ?? 0;
  }

  markerOf(sequence: number): boolean {
    return this.#markers[sequence & this.#historyMask] === 1;
  }

  onSenderReport(report: SenderReport, nowMs: number): number {
    this.#lastReportCompact = compactNtp(report.ntpSeconds, report.ntpFraction);
    this.#lastReportMs = nowMs;
    return this.clock.onReport(report.ntpSeconds, report.ntpFraction, report.rtpTimestamp);
  }

  /** Called about once a second. */
  measureBitrate(nowMs: number): void {
    const elapsedMs = nowMs - this.#rateAtMs;
    if (this.#rateAtMs > 0 && elapsedMs > 0) {
      this.#bitrateKbps = Math.round(((this.bytes - this.#bytesAtRate) * 8) / elapsedMs);
    }
    this.#bytesAtRate = this.bytes;
    this.#rateAtMs = nowMs;
  }

  /** RFC 3550 §6.4.1; undefined before the first packet. */
  takeReceptionReport(nowMs: number): ReceptionReport | undefined {
    if (this.#highest < 0) {
      return undefined;
    }
    const expected = this.#highest - this.#first + 1;
    const expectedNow = expected - this.#expectedBefore;
    const lostNow = expectedNow - (this.#received - this.#receivedBefore);
    this.#expectedBefore = expected;
    this.#receivedBefore = this.#received;
    const delay = this.#lastReportCompact === 0 ? 0 : Math.round((nowMs - this.#lastReportMs) * 65.536);
    return {
      ssrc: this.ssrc,
      fractionLost:
        expectedNow > 0 && lostNow > 0 ? Math.min(255, Math.floor((lostNow * 256) / expectedNow)) : 0,
      cumulativeLost: expected - this.#received,
      highestSequence: (this.#highest - 0x1_0000) >>> 0,
      jitter: Math.round(this.#jitter),
      lastSenderReport: this.#lastReportCompact,
      delaySinceLastSenderReport: delay,
    };
  }
}
