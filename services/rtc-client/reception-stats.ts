import { SequenceUnwrapper, timestampDistance } from '../media/rtp/sequence.ts';
import type { ReceptionReport } from '../media/rtp/rtcp.ts';

/** Counters of one SSRC for reception reports, RFC 3550 §6.4.1 and appendix A.8. */
export class ReceptionStats {
  readonly #clockRateHz: number;
  readonly #unwrapper = new SequenceUnwrapper();
  #base: number | undefined;
  #highest = 0;
  #received = 0;
  #expectedBefore = 0;
  #receivedBefore = 0;
  #jitter = 0;
  #lastTransit: number | undefined;

  constructor(clockRateHz: number) {
    this.#clockRateHz = clockRateHz;
  }

  get received(): number {
    return this.#received;
  }

  onPacket(sequenceNumber: number, timestamp: number, arrivalUs: number): void {
    const sequence = this.#unwrapper.unwrap(sequenceNumber);
    if (this.#base === undefined) {
      this.#base = sequence;
      this.#highest = sequence;
    }
    this.#highest = Math.max(this.#highest, sequence);
    this.#received += 1;
    const transit = timestampDistance(
      Math.round((arrivalUs * this.#clockRateHz) / 1_000_000) % 0x1_0000_0000,
      timestamp,
    );
    if (this.#lastTransit !== undefined) {
      const difference = Math.abs(timestampDistance(transit, this.#lastTransit));
      this.#jitter += (difference - this.#jitter) / 16;
    }
    this.#lastTransit = transit;
  }

  /** Undefined before the first packet. Advances the interval that fractionLost is about. */
  report(
    ssrc: number,
    nowUs: number,
    lastReport: { compact: number; arrivalUs: number } | undefined,
  ): ReceptionReport | undefined {
    if (this.#base === undefined) {
      return undefined;
    }
    const expected = this.#highest - this.#base + 1;
    const expectedInterval = expected - this.#expectedBefore;
    const lostInterval = expectedInterval - (this.#received - this.#receivedBefore);
    this.#expectedBefore = expected;
    this.#receivedBefore = this.#received;
    return {
      ssrc,
      fractionLost:
        expectedInterval > 0 && lostInterval > 0
          ? Math.min(255, Math.floor((lostInterval * 256) / expectedInterval))
          : 0,
      cumulativeLost: expected - this.#received,
      highestSequence: (this.#highest + 0x1_0000_0000) % 0x1_0000_0000,
      jitter: Math.round(this.#jitter),
      lastSenderReport: lastReport?.compact ?? 0,
      delaySinceLastSenderReport:
        lastReport === undefined ? 0 : Math.round(((nowUs - lastReport.arrivalUs) * 65_536) / 1_000_000),
    };
  }
}
