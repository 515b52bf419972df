import { randomInt } from 'node:crypto';
import { readU16, readU32, writeU16, writeU32 } from '../media/rtp/bytes.ts';
import { absSendTime, nowNtpUs, ntpFraction, ntpSeconds } from '../media/rtp/ntp.ts';
import { buildSdes, buildSenderReport } from '../media/rtp/rtcp-build.ts';
import { extensionOffset, findExtension, writeRtpHeader } from '../media/rtp/rtp-header.ts';
import { sequenceDistance } from '../media/rtp/sequence.ts';
import type { RtpPayload } from '../media/packetize/packetizer-types.ts';
import type { Pacer } from './pacer.ts';

/** Leaves room for IP, UDP, the SRTP tag and header extensions in a 1280-byte path. */
export const MAX_PAYLOAD_LENGTH = 1188;
const SLOT_BYTES = 1500;
/** More than a second of 1080p at 6 Mbit/s, and more than the pacer's backlog. */
const HISTORY = { video: 1024, audio: 128 } as const;
/** The same packet is not repeated sooner: the first repeat may still be on its way. */
const RESEND_INTERVAL_MS = 20;

export type SendStreamOptions = {
  kind: 'video' | 'audio';
  ssrc: number;
  /** 0 = repeats go out on the media SSRC. */
  rtxSsrc: number;
  payloadType: number;
  rtxPayloadType: number;
  mid: string;
  /** Name of the simulcast layer; '' = none. */
  rid: string;
  cname: string;
  /** Negotiated ids, 0 = not negotiated. */
  extensions: { mid: number; transportCc: number; absSendTime: number; rid: number; repairedRid: number };
  /** One counter per transport. */
  nextTransportSequence: () => number;
  sendRtp: (packet: Buffer, headerLength: number, rollover: number) => void;
  pacer: Pacer;
  /** Default: random. */
  firstSequenceNumber?: number;
};

/** One outgoing RTP stream: headers, history for repeats, counters for sender reports. */
export class SendStream {
  readonly #options: SendStreamOptions;
  readonly #slots: Buffer;
  readonly #size: number;
  readonly #lengths: Uint16Array;
  readonly #sequences: Float64Array;
  readonly #resentMs: Float64Array;
  readonly #template = Buffer.alloc(64);
  readonly #headerLength: number;
  readonly #transportCcOffset: number;
  readonly #absSendTimeOffset: number;
  readonly #ridOffset: number;
  /** Extended: rollover · 2^16 + sequence number. Starts low so that the first wrap is far (RFC 3711 §3.3.1). */
  #next: number;
  #rtxNext = randomInt(0x4000);
  #packets = 0;
  #octets = 0;
  #resent = 0;

  constructor(options: SendStreamOptions) {
    this.#options = options;
    this.#next = options.firstSequenceNumber ?? randomInt(0x4000);
    this.#size = HISTORY[options.kind];
    this.#slots = Buffer.allocUnsafeSlow(this.#size * SLOT_BYTES);
    this.#lengths = new Uint16Array(this.#size);
    this.#sequences = new Float64Array(this.#size).fill(-1);
    this.#resentMs = new Float64Array(this.#size);
    const { extensions } = options;
    this.#headerLength = writeRtpHeader(this.#template, {
      payloadType: options.payloadType,
      marker: false,
      sequenceNumber: 0,
      timestamp: 0,
      ssrc: options.ssrc,
      extensions: [
        ...(extensions.mid === 0 ? [] : [{ id: extensions.mid, data: Buffer.from(options.mid) }]),
        ...(options.rid === '' || extensions.rid === 0
          ? []
          : [{ id: extensions.rid, data: Buffer.from(options.rid) }]),
        ...(extensions.absSendTime === 0 ? [] : [{ id: extensions.absSendTime, data: Buffer.alloc(3) }]),
        ...(extensions.transportCc === 0 ? [] : [{ id: extensions.transportCc, data: Buffer.alloc(2) }]),
      ],
    });
    const header = this.#template.subarray(0, this.#headerLength);
    this.#transportCcOffset = extensionOffset(Math.max(0, findExtension(header, extensions.transportCc)));
    this.#absSendTimeOffset = extensionOffset(Math.max(0, findExtension(header, extensions.absSendTime)));
    this.#ridOffset =
      options.rid === '' ? 0 : extensionOffset(Math.max(0, findExtension(header, extensions.rid)));
  }

  get ssrc(): number {
    return this.#options.ssrc;
  }

  get hasSent(): boolean {
    return this.#packets > 0;
  }

  stats(): { packets: number; octets: number; resent: number } {
    return { packets: this.#packets, octets: this.#octets, resent: this.#resent };
  }

  /** Sends one frame; audio at once, video through the pacer. Payloads too long for a packet are left out. */
  sendFrame(payloads: readonly RtpPayload[], rtpTimestamp: number): void {
    const last = payloads.length - 1;
    payloads.forEach(({ head, body }, index) => {
      const length = this.#headerLength + head.length + body.length;
      if (length > SLOT_BYTES) {
        return;
      }
      const extended = this.#next;
      this.#next += 1;
      const slot = extended % this.#size;
      const packet = this.#slots.subarray(slot * SLOT_BYTES, slot * SLOT_BYTES + length);
      this.#template.copy(packet, 0, 0, this.#headerLength);
      // RFC 3551 §4.1: for audio the marker starts a talkspurt; Opus senders leave it clear.
      packet[1] = (index === last && this.#options.kind === 'video' ? 0x80 : 0) | this.#options.payloadType;
      writeU16(packet, 2, extended & 0xffff);
      writeU32(packet, 4, rtpTimestamp);
      packet.set(head, this.#headerLength);
      packet.set(body, this.#headerLength + head.length);
      this.#lengths[slot] = length;
      this.#sequences[slot] = extended;
      this.#resentMs[slot] = 0;
      this.#packets += 1;
      this.#octets += head.length + body.length;
      if (this.#options.kind === 'audio') {
        this.#transmit(extended);
      } else {
        this.#options.pacer.push({ send: () => this.#transmit(extended) });
      }
    });
  }

  /** Repeats what a receiver misses and what is still in the history. */
  onNack(sequenceNumbers: readonly number[]): void {
    const nowMs = performance.now();
    for (const sequenceNumber of sequenceNumbers) {
      const extended = this.#next + sequenceDistance(sequenceNumber, this.#next & 0xffff);
      const slot = extended % this.#size;
      if (
        extended < 0 ||
        extended >= this.#next ||
        this.#sequences[slot] !== extended ||
        nowMs - (this.#resentMs[slot] ?? 0) < RESEND_INTERVAL_MS
      ) {
        continue;
      }
      this.#resentMs[slot] = nowMs;
      this.#resent += 1;
      if (this.#options.rtxSsrc === 0 || this.#options.rtxPayloadType === 0) {
        // The same bytes again under the same index: GCM allows no other repeat.
        this.#send(this.#packet(slot), extended);
      } else {
        this.#sendRtx(this.#packet(slot));
      }
    }
  }

  /** Compound SR + SDES that ties `rtpTimestamp` to the NTP time it was captured at. */
  senderReport(rtpTimestamp: number, ntpUs: number): Buffer {
    const { ssrc, cname } = this.#options;
    const report = buildSenderReport({
      ssrc,
      ntpSeconds: ntpSeconds(ntpUs),
      ntpFraction: ntpFraction(ntpUs),
      rtpTimestamp,
      packetCount: this.#packets >>> 0,
      octetCount: this.#octets >>> 0,
      reports: [],
    });
    return Buffer.concat([report, buildSdes(ssrc, cname)]);
  }

  #packet(slot: number): Buffer {
    const start = slot * SLOT_BYTES;
    return this.#slots.subarray(start, start + (this.#lengths[slot] ?? 0));
  }

  #transmit(extended: number): void {
    const slot = extended % this.#size;
    if (this.#sequences[slot] !== extended) {
      return;
    }
    const packet = this.#packet(slot);
    this.#stamp(packet);
    this.#send(packet, extended);
  }

  #stamp(packet: Buffer): void {
    if (this.#absSendTimeOffset > 0) {
      const time = absSendTime(nowNtpUs());
      packet[this.#absSendTimeOffset] = time >>> 16;
      writeU16(packet, this.#absSendTimeOffset + 1, time & 0xffff);
    }
    if (this.#transportCcOffset > 0) {
      writeU16(packet, this.#transportCcOffset, this.#options.nextTransportSequence());
    }
  }

  #send(packet: Buffer, extended: number): void {
    this.#options.sendRtp(packet, this.#headerLength, Math.floor(extended / 0x1_0000));
  }

  /** RFC 4588 §4: own SSRC, payload type and sequence; the original number in front of the payload. */
  #sendRtx(original: Buffer): void {
    const extended = this.#rtxNext;
    this.#rtxNext += 1;
    const packet = Buffer.allocUnsafe(original.length + 2);
    original.copy(packet, 0, 0, this.#headerLength);
    packet[1] = ((original[1] ?? 0) & 0x80) | this.#options.rtxPayloadType;
    writeU16(packet, 2, extended & 0xffff);
    writeU32(packet, 4, readU32(original, 4));
    writeU32(packet, 8, this.#options.rtxSsrc);
    if (this.#ridOffset > 0) {
      // RFC 8852 section 3.3: a repair names its stream by another extension, in the one-byte form (RFC 8285).
      packet[this.#ridOffset - 1] =
        (this.#options.extensions.repairedRid << 4) | (this.#options.rid.length - 1);
    }
    writeU16(packet, this.#headerLength, readU16(original, 2));
    original.copy(packet, this.#headerLength + 2, this.#headerLength);
    this.#stamp(packet);
    this.#send(packet, extended);
  }
}
