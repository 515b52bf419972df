import { timestampDistance } from '../../media/rtp/sequence.ts';
import type { InboundStream } from './inbound-stream.ts';
import type { PacketView } from './track-publication.ts';

/** Dropped padding packets that a late packet may still lie before. */
const MAX_DROPPED = 64;
/** A jump this far is not loss but a restart of the publisher's sender. */
const MAX_JUMP = 1000;
/** Beyond this the sender reports of two layers contradict each other. */
const MAX_TIMESTAMP_DISAGREEMENT_S = 5;

/**
 * Maps the packets of changing inbound streams onto one continuous outgoing stream: sequence numbers without gaps at a
 * switch, timestamps that go on at the right pace, VP8 picture ids that count on. All sequence numbers are extended, so
 * the SRTP rollover counter is simply the outgoing number divided by 65536.
 */
export class Rewriting {
  readonly #clockRateHz: number;
  #stream: InboundStream | undefined;
  #started = false;
  #sequenceOffset = 0;
  #timestampOffset = 0;
  #pictureIdOffset = 0;
  #tl0PicIdxOffset = 0;
  #switchSequence = 0;
  #highestIn = 0;
  readonly #dropped: number[] = [];
  #lastOut: number;
  #lastTimestamp = 0;
  #lastSentMs = 0;
  #lastPictureId = 0;
  #lastTl0PicIdx = 0;

  /** `firstSequence` below 32768, so that receivers cannot mistake early reordering for a rollover. */
  constructor(options: { clockRateHz: number; firstSequence: number }) {
    this.#clockRateHz = options.clockRateHz;
    this.#lastOut = options.firstSequence - 1;
  }

  get started(): boolean {
    return this.#started;
  }

  get lastTimestamp(): number {
    return this.#lastTimestamp;
  }

  get lastSentMs(): number {
    return this.#lastSentMs;
  }

  get timestampOffset(): number {
    return this.#timestampOffset;
  }

  /** The stream mapped last. */
  get stream(): InboundStream | undefined {
    return this.#stream;
  }

  /** True when the packet is so far ahead that its stream must be switched to anew. */
  isDiscontinuous(view: PacketView): boolean {
    return view.sequence > this.#highestIn + MAX_JUMP;
  }

  /**
   * From this packet (the first of a key frame) on, the outgoing stream consists of the view's stream.
   * @param liveTimestamp of what the stream sends at this moment; the view's own unless the packet is an old one.
   */
  switchTo(view: PacketView, liveTimestamp = view.timestamp): void {
    if (this.#started && view.stream !== this.#stream) {
      this.#timestampOffset = this.#nextTimestampOffset(view, liveTimestamp);
    }
    this.#sequenceOffset = this.#lastOut + 1 - view.sequence;
    if (this.#started && view.vp8.valid) {
      this.#pictureIdOffset = this.#lastPictureId + 1 - view.vp8.pictureId;
      this.#tl0PicIdxOffset = this.#lastTl0PicIdx + 1 - view.vp8.tl0PicIdx;
    }
    this.#stream = view.stream;
    this.#switchSequence = view.sequence;
    this.#highestIn = view.sequence - 1;
    this.#dropped.length = 0;
  }

  /**
   * Outgoing extended sequence number, or -1 when the packet is not to be sent: it is older than the switch, or it is
   * padding that can still be squeezed out. Padding that comes late is sent on, its number is already spoken for.
   */
  nextSequence(view: PacketView): number {
    const { sequence } = view;
    if (sequence < this.#switchSequence) {
      return -1;
    }
    if (sequence > this.#highestIn) {
      this.#highestIn = sequence;
      if (view.payload.length === 0) {
        this.#sequenceOffset -= 1;
        this.#dropped.push(sequence);
        if (this.#dropped.length > MAX_DROPPED) {
          this.#dropped.shift();
        }
        return -1;
      }
      return sequence + this.#sequenceOffset;
    }
    let out = sequence + this.#sequenceOffset;
    for (const dropped of this.#dropped) {
      if (dropped > sequence) {
        out += 1;
      }
    }
    return out;
  }

  timestamp(view: PacketView): number {
    return (view.timestamp + this.#timestampOffset) >>> 0;
  }

  pictureId(view: PacketView): number {
    const mask = view.vp8.pictureIdBits === 15 ? 0x7fff : 0x7f;
    return (view.vp8.pictureId + this.#pictureIdOffset) & mask;
  }

  tl0PicIdx(view: PacketView): number {
    return (view.vp8.tl0PicIdx + this.#tl0PicIdxOffset) & 0xff;
  }

  onSent(out: number, view: PacketView, timestamp: number, pictureId: number, tl0: number): void {
    this.#started = true;
    if (out > this.#lastOut) {
      this.#lastOut = out;
      this.#lastTimestamp = timestamp;
      this.#lastSentMs = view.nowMs;
      if (view.vp8.valid) {
        this.#lastPictureId = pictureId;
        this.#lastTl0PicIdx = tl0;
      }
    }
  }

  /**
   * Layers have timestamps of their own. Where sender reports of both are known they say exactly how the two relate
   * (so lip sync survives the switch), else the time since the last packet has to do. Time never goes backwards.
   */
  #nextTimestampOffset(view: PacketView, liveTimestamp: number): number {
    const elapsed = Math.max(1, Math.round(((view.nowMs - this.#lastSentMs) * this.#clockRateHz) / 1000));
    const byArrival = this.#lastTimestamp + elapsed - liveTimestamp;
    const before = this.#stream?.clock;
    const after = view.stream.clock;
    const momentUs = after.reportNtpUs;
    const oldTimestamp = momentUs === undefined ? undefined : before?.rtpAt(momentUs);
    const newTimestamp = momentUs === undefined ? undefined : after.rtpAt(momentUs);
    if (oldTimestamp === undefined || newTimestamp === undefined) {
      return byArrival;
    }
    const byReport = oldTimestamp + this.#timestampOffset - newTimestamp;
    const step = timestampDistance(liveTimestamp + byReport, this.#lastTimestamp);
    if (Math.abs(step - elapsed) > MAX_TIMESTAMP_DISAGREEMENT_S * this.#clockRateHz) {
      return byArrival;
    }
    return step > 0 ? byReport : byReport + 1 - step;
  }
}
