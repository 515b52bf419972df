import { ntpToUs } from '../../media/rtp/ntp.ts';

/** How fast the offset may follow a publisher whose clock runs slower than ours, per report. */
const MAX_DRIFT_US = 1_000;

/**
 * Offset between a publisher's wall clock and ours, one per publisher. All its streams are shifted by the same amount, so
 * audio and video keep the relation the publisher's sender reports gave them.
 */
export class PublisherClock {
  #offsetUs: number | undefined;

  /** Ours minus theirs, including the shortest network delay seen. */
  get offsetUs(): number | undefined {
    return this.#offsetUs;
  }

  onReport(publisherNtpUs: number, nowNtpUs: number): void {
    const sample = nowNtpUs - publisherNtpUs;
    if (this.#offsetUs === undefined || sample < this.#offsetUs) {
      this.#offsetUs = sample;
    } else {
      this.#offsetUs += Math.min(MAX_DRIFT_US, (sample - this.#offsetUs) * 0.01);
    }
  }
}

/** The relation of one stream's RTP timestamps to the publisher's wall clock, from its latest sender report. */
export class StreamClock {
  readonly #clockRateHz: number;
  #ntpUs: number | undefined;
  #rtpTimestamp = 0;

  constructor(clockRateHz: number) {
    this.#clockRateHz = clockRateHz;
  }

  /** The publisher's wall clock at its latest report. */
  get reportNtpUs(): number | undefined {
    return this.#ntpUs;
  }

  /** Returns the report's NTP time in microseconds. */
  onReport(ntpSeconds: number, ntpFraction: number, rtpTimestamp: number): number {
    const ntpUs = ntpToUs(ntpSeconds, ntpFraction);
    this.#ntpUs = ntpUs;
    this.#rtpTimestamp = rtpTimestamp;
    return ntpUs;
  }

  /** RTP timestamp (not wrapped) the publisher has at that moment of its clock; undefined before the first report. */
  rtpAt(publisherNtpUs: number): number | undefined {
    if (this.#ntpUs === undefined) {
      return undefined;
    }
    const elapsedUs = publisherNtpUs - this.#ntpUs;
    return this.#rtpTimestamp + Math.round((elapsedUs * this.#clockRateHz) / 1_000_000);
  }
}
