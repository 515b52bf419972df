import { TimestampUnwrapper } from '../rtp/sequence.ts';
import type { PublisherClock } from './publisher-clock.ts';

/** While a correction is under way, time runs at most this much faster or slower than the media. */
const MAX_SLEW = 0.1;
/** What the first report says of frames that could not wait for it: being together soon counts more than an even pace. */
const FIRST_SLEW = 0.5;
/** Forward corrections beyond this are made at once: slewing them would keep tracks apart for too long. */
const JUMP_US = 2_000_000;
/** Packets looked at for the least delayed one before the first sender report. */
const START_WINDOW_US = 500_000;

/**
 * Presentation times of one RTP stream on the session clock, by the publisher's clock: exactly, when a sender report
 * came before the first frame was placed. Else the stream is placed by arrival until one comes. Times never go backwards
 * in RTP order and never jump back.
 */
export class RtpTimeline {
  readonly #clockRateHz: number;
  readonly #clock: PublisherClock;
  readonly #inBursts: boolean;
  #unwrapper = new TimestampUnwrapper();
  /** Session time = media time + offset. */
  #offsetUs: number | undefined;
  #targetUs = 0;
  #lastMediaUs = 0;
  #lastPtsUs = Number.NEGATIVE_INFINITY;
  #firstArrivalUs = 0;
  #report: { mediaUs: number; ntpUs: number } | undefined;
  /** The first report's correction is done. */
  #isSettled = false;

  /** `inBursts`: packets are held back on purpose, so their arrival says nothing about the delay of the network. */
  constructor(options: { clockRateHz: number; clock: PublisherClock; inBursts?: boolean }) {
    this.#clockRateHz = options.clockRateHz;
    this.#clock = options.clock;
    this.#inBursts = options.inBursts ?? false;
  }

  /** A sender report has told the publisher's clock. */
  get isReported(): boolean {
    return this.#report !== undefined;
  }

  /** Presentation time of a frame. Call in decode order. */
  ptsUs(timestamp: number, arrivalUs: number): number {
    const mediaUs = this.#mediaUs(timestamp);
    if (this.#offsetUs === undefined) {
      this.#offsetUs = arrivalUs - mediaUs;
      this.#targetUs = this.#offsetUs;
      this.#firstArrivalUs = arrivalUs;
      this.#lastMediaUs = mediaUs;
    }
    if (this.#report !== undefined) {
      this.#targetUs = this.#clock.toSessionUs(this.#report.ntpUs) - this.#report.mediaUs;
    } else if (!this.#inBursts && arrivalUs - this.#firstArrivalUs < START_WINDOW_US) {
      this.#targetUs = Math.min(this.#targetUs, arrivalUs - mediaUs);
    }
    this.#approach(Math.max(0, mediaUs - this.#lastMediaUs));
    this.#lastMediaUs = Math.max(this.#lastMediaUs, mediaUs);
    const ptsUs = Math.round(mediaUs + this.#offsetUs);
    // B-frames come out of order within the stream; only equal RTP order is kept rising.
    const result = mediaUs >= this.#lastMediaUs ? Math.max(ptsUs, this.#lastPtsUs + 1) : ptsUs;
    this.#lastPtsUs = Math.max(this.#lastPtsUs, result);
    return result;
  }

  /** Feeds a sender report: this RTP timestamp was captured at this NTP time. */
  onReport(report: { timestamp: number; ntpUs: number; arrivalUs: number }): void {
    const mediaUs = this.#mediaUs(report.timestamp);
    if (!this.#clock.isSet) {
      const offsetUs = this.#offsetUs ?? report.arrivalUs - mediaUs;
      this.#clock.set(mediaUs + offsetUs - report.ntpUs);
    }
    this.#clock.onReport(report.ntpUs, report.arrivalUs);
    if (this.#offsetUs === undefined) {
      this.#offsetUs = this.#clock.toSessionUs(report.ntpUs) - mediaUs;
      this.#firstArrivalUs = report.arrivalUs;
      this.#lastMediaUs = mediaUs;
    }
    this.#report = { mediaUs, ntpUs: report.ntpUs };
  }

  #approach(elapsedMediaUs: number): void {
    const differenceUs = this.#targetUs - (this.#offsetUs ?? 0);
    const isFirst = this.isReported && !this.#isSettled;
    const limitUs = elapsedMediaUs * (isFirst ? FIRST_SLEW : MAX_SLEW);
    const jumps = differenceUs > JUMP_US || (isFirst && differenceUs > 0);
    const stepUs = jumps ? differenceUs : Math.max(-limitUs, Math.min(limitUs, differenceUs));
    this.#offsetUs = (this.#offsetUs ?? 0) + stepUs;
    this.#isSettled ||= isFirst && stepUs === differenceUs;
  }

  #mediaUs(timestamp: number): number {
    return (this.#unwrapper.unwrap(timestamp) * 1_000_000) / this.#clockRateHz;
  }
}
