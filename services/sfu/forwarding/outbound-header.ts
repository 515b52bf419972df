import { writeU16, writeU24, writeU32 } from '../../media/rtp/bytes.ts';
import { RTP_FIXED_HEADER_LENGTH } from '../../media/rtp/rtp-header.ts';
import { absSendTime, ntpUsAt } from '../../media/rtp/ntp.ts';

const EXTENSION_HEADER_LENGTH = 4;
const ONE_BYTE_PROFILE = 0xbede;
const TWO_BYTE_PROFILE = 0x1000;
const EXTENSION_BIT = 0x10;

let lastSendMs = Number.NaN;
let lastSendTime = 0;

/** All receivers of a packet get it at the same moment: the time is worked out once. */
function sendTimeAt(nowMs: number): number {
  if (nowMs !== lastSendMs) {
    lastSendMs = nowMs;
    lastSendTime = absSendTime(ntpUsAt(nowMs));
  }
  return lastSendTime;
}

/**
 * The RTP header of one outgoing stream, prepared once: per packet only the changing fields are written.
 * Element order: abs-send-time, transport-cc, and – which needs the two-byte form – the dependency descriptor.
 */
export class OutboundHeader {
  readonly #template: Buffer;
  readonly #absSendTimeId: number;
  readonly #transportCcId: number;
  readonly #descriptorId: number;

  constructor(options: { absSendTimeId: number; transportCcId: number; dependencyDescriptorId: number }) {
    this.#absSendTimeId = options.absSendTimeId;
    this.#transportCcId = options.transportCcId;
    this.#descriptorId = options.dependencyDescriptorId;
    const template = Buffer.alloc(RTP_FIXED_HEADER_LENGTH + EXTENSION_HEADER_LENGTH + 8);
    template[0] = 0x80;
    let offset = RTP_FIXED_HEADER_LENGTH;
    if (options.absSendTimeId !== 0 || options.transportCcId !== 0) {
      template[0] = 0x80 | EXTENSION_BIT;
      offset += EXTENSION_HEADER_LENGTH;
      if (options.absSendTimeId !== 0) {
        template[offset] = (options.absSendTimeId << 4) | 2;
        offset += 4;
      }
      if (options.transportCcId !== 0) {
        template[offset] = (options.transportCcId << 4) | 1;
        offset += 3;
      }
      offset = (offset + 3) & ~3;
      writeU16(template, RTP_FIXED_HEADER_LENGTH, ONE_BYTE_PROFILE);
      writeU16(template, RTP_FIXED_HEADER_LENGTH + 2, (offset - 16) / 4);
    }
    this.#template = template.subarray(0, offset);
  }

  /**
   * Writes the header into `out` and returns its length. A transport-wide number is only taken when it is negotiated;
   * `descriptor` undefined = not sent. `nowMs` is monotonic.
   */
  write(
    out: Buffer,
    payloadType: number,
    marker: boolean,
    sequenceNumber: number,
    timestamp: number,
    ssrc: number,
    nextTransportSequence: () => number,
    descriptor: Buffer | undefined,
    nowMs: number,
  ): number {
    out.set(this.#template, 0);
    out[1] = (marker ? 0x80 : 0) | payloadType;
    writeU16(out, 2, sequenceNumber);
    writeU32(out, 4, timestamp);
    writeU32(out, 8, ssrc);
    if (descriptor !== undefined && this.#descriptorId !== 0) {
      return this.#writeTwoByte(out, nextTransportSequence, descriptor, nowMs);
    }
    let offset = RTP_FIXED_HEADER_LENGTH + EXTENSION_HEADER_LENGTH;
    if (this.#absSendTimeId !== 0) {
      writeU24(out, offset + 1, sendTimeAt(nowMs));
      offset += 4;
    }
    if (this.#transportCcId !== 0) {
      writeU16(out, offset + 1, nextTransportSequence());
    }
    return this.#template.length;
  }

  /** A dependency descriptor may exceed the 16 bytes of the one-byte form (RFC 8285 §4.3). */
  #writeTwoByte(out: Buffer, nextTransportSequence: () => number, descriptor: Buffer, nowMs: number): number {
    out[0] = 0x80 | EXTENSION_BIT;
    let offset = RTP_FIXED_HEADER_LENGTH + EXTENSION_HEADER_LENGTH;
    if (this.#absSendTimeId !== 0) {
      out[offset] = this.#absSendTimeId;
      out[offset + 1] = 3;
      writeU24(out, offset + 2, sendTimeAt(nowMs));
      offset += 5;
    }
    if (this.#transportCcId !== 0) {
      out[offset] = this.#transportCcId;
      out[offset + 1] = 2;
      writeU16(out, offset + 2, nextTransportSequence());
      offset += 4;
    }
    out[offset] = this.#descriptorId;
    out[offset + 1] = descriptor.length;
    out.set(descriptor, offset + 2);
    offset += 2 + descriptor.length;
    while ((offset & 3) !== 0) {
      out[offset++] = 0;
    }
    writeU16(out, RTP_FIXED_HEADER_LENGTH, TWO_BYTE_PROFILE);
    writeU16(out, RTP_FIXED_HEADER_LENGTH + 2, (offset - 16) / 4);
    return offset;
  }
}
