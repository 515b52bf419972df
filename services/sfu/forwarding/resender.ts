import { randomInt } from 'node:crypto';
import type { SrtpSender } from '../../media/rtp/srtp-sender.ts';
import { SRTP_MAX_OVERHEAD } from '../../media/rtp/srtp-sender.ts';
import {
  emptyVp8Descriptor,
  parseVp8Descriptor,
  patchVp8Descriptor,
} from '../../media/rtp/vp8-descriptor.ts';
import type { OutboundHeader } from './outbound-header.ts';
import { MAX_DATAGRAM_BYTES, takeSlot } from './packet-ring.ts';
import type { SentPackets } from './sent-packets.ts';

/** Repeats per second a receiver may ask for; NACKs must not turn into a flood. */
const RESENDS_PER_SECOND = 1000;

/** Repeats packets as RTX (RFC 4588) on an SSRC of its own. */
export class Resender {
  readonly #ssrc: number;
  readonly #vp8: boolean;
  readonly #descriptor = emptyVp8Descriptor();
  #budget = RESENDS_PER_SECOND;
  /** Extended, below 32768 at first: see Rewriting. */
  #sequence = randomInt(1, 0x8000);

  constructor(options: { ssrc: number; codec: string }) {
    this.#ssrc = options.ssrc;
    this.#vp8 = options.codec === 'vp8';
  }

  /** Called once a second. */
  refill(): void {
    this.#budget = RESENDS_PER_SECOND;
  }

  /** True when the receiver may still be served in this second; counts the request. */
  takeBudget(): boolean {
    if (this.#budget <= 0) {
      return false;
    }
    this.#budget -= 1;
    return true;
  }

  /** The protected RTX packet for a sequence number, undefined when the packet is no longer there. */
  repeat(
    sequenceNumber: number,
    sent: SentPackets,
    header: OutboundHeader,
    payloadType: number,
    nextTransportSequence: () => number,
    srtpSender: SrtpSender,
  ): Buffer | undefined {
    const slot = sent.find(sequenceNumber);
    const stream = slot < 0 ? undefined : sent.streamAt(slot);
    const sequence = sent.sequenceAt(slot);
    const payload = stream?.payloadOf(sequence);
    if (stream === undefined || payload === undefined) {
      return undefined;
    }
    // §4: the original sequence number, then the original payload.
    const body = Buffer.allocUnsafe(payload.length + 2);
    body.writeUInt16BE(sequenceNumber, 0);
    payload.copy(body, 2);
    if (this.#vp8 && payload.length > 0) {
      patchVp8Descriptor(
        body.subarray(2),
        parseVp8Descriptor(payload, this.#descriptor),
        sent.pictureIdAt(slot),
        sent.tl0PicIdxAt(slot),
      );
    }
    const out = takeSlot();
    this.#sequence += 1;
    const headerLength = header.write(
      out,
      payloadType,
      stream.markerOf(sequence),
      this.#sequence & 0xffff,
      sent.timestampAt(slot),
      this.#ssrc,
      nextTransportSequence,
      stream.descriptorOf(sequence),
      performance.now(),
    );
    if (headerLength + body.length + SRTP_MAX_OVERHEAD > MAX_DATAGRAM_BYTES) {
      return undefined;
    }
    const rollover = Math.floor(this.#sequence / 0x1_0000);
    return out.subarray(0, srtpSender.sealRtp(out, headerLength, body, rollover));
  }
}
