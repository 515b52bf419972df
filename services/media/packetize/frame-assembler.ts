import type { Depacketizer } from './depacketizer-types.ts';
import type { ReorderedPacket } from './reorder-buffer.ts';

export type ReceivedFrame = {
  data: Uint8Array;
  key: boolean;
  /** RTP timestamp as on the wire. */
  timestamp: number;
  /** When the frame's first packet arrived. */
  arrivalUs: number;
};

export type FrameAssemblerOptions = {
  depacketizer: Depacketizer;
  onFrame: (frame: ReceivedFrame) => void;
  /** Frames cannot be decoded until the next key frame: ask for one. */
  onKeyframeNeeded: () => void;
};

/** Longest frame in packets; bounds what a sender that never sets the marker can make us keep. */
const MAX_FRAME_PACKETS = 8192;

/**
 * Joins packets in order to frames. After loss it gives nothing but whole frames again: damaged ones are dropped, and
 * so is everything that would be decoded from them, up to the next key frame.
 */
export class FrameAssembler {
  readonly #options: FrameAssemblerOptions;
  #payloads: Uint8Array[] = [];
  #timestamp = 0;
  #arrivalUs = 0;
  #damaged = false;
  #gap = false;
  #needsKey = true;
  #lastPacketEndedFrame = false;

  constructor(options: FrameAssemblerOptions) {
    this.#options = options;
  }

  get needsKey(): boolean {
    return this.#needsKey;
  }

  /** Packets in front of the next one are gone for good. */
  lost(): void {
    this.#gap = true;
    this.#needKey();
  }

  /** Frames up to the next key frame are not wanted (a consumer that starts later than the stream). */
  waitForKey(): void {
    this.#needsKey = true;
  }

  push(packet: ReorderedPacket): void {
    if (packet.payload.length === 0) {
      // Padding-only packets probe the path; they use sequence numbers but carry no frame.
      return;
    }
    if (this.#payloads.length > 0 && packet.timestamp !== this.#timestamp) {
      this.#damaged ||= this.#gap;
      this.#finish();
    }
    if (this.#payloads.length === 0) {
      this.#timestamp = packet.timestamp;
      this.#arrivalUs = packet.arrivalUs;
      const complete = this.#lastPacketEndedFrame && !this.#gap;
      this.#damaged = !complete && !this.#options.depacketizer.isFrameStart(packet.payload);
    } else if (this.#gap || this.#payloads.length >= MAX_FRAME_PACKETS) {
      this.#damaged = true;
    }
    this.#gap = false;
    this.#payloads.push(packet.payload);
    this.#lastPacketEndedFrame = packet.marker || this.#options.depacketizer.framePerPacket;
    if (packet.marker || this.#options.depacketizer.framePerPacket) {
      this.#finish();
    }
  }

  #finish(): void {
    const payloads = this.#payloads;
    this.#payloads = [];
    if (this.#damaged) {
      this.#needKey();
      return;
    }
    const frame = this.#options.depacketizer.assemble(payloads);
    if (frame === 'empty') {
      return;
    }
    if (frame === undefined || (this.#needsKey && !frame.key)) {
      this.#needKey();
      return;
    }
    this.#needsKey = false;
    this.#options.onFrame({
      data: frame.data,
      key: frame.key,
      timestamp: this.#timestamp,
      arrivalUs: this.#arrivalUs,
    });
  }

  #needKey(): void {
    this.#needsKey = true;
    this.#options.onKeyframeNeeded();
  }
}
