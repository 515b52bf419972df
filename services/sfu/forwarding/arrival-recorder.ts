import { SequenceUnwrapper } from '../../media/rtp/sequence.ts';
import { buildTransportFeedback, type Arrival } from '../../media/rtp/transport-feedback.ts';

const FEEDBACK_INTERVAL_MS = 50;
/** Far more than 50 ms of packets; beyond it the sender is flooding. */
const MAX_PENDING = 4096;
/** Packets older than this against the next expected one are not reported any more. */
const MAX_REORDER = 500;

/**
 * Records when the packets of one transport arrived, over all its streams, and turns that into transport-wide feedback
 * for the sender's bandwidth estimator.
 */
export class ArrivalRecorder {
  readonly #unwrapper = new SequenceUnwrapper();
  #pending: Arrival[] = [];
  #nextSequence: number | undefined;
  #feedbackCount = 0;
  #lastFeedbackMs = 0;

  get hasPending(): boolean {
    return this.#pending.length > 0;
  }

  record(transportSequenceNumber: number, arrivalUs: number): void {
    if (this.#pending.length < MAX_PENDING) {
      const sequence = this.#unwrapper.unwrap(transportSequenceNumber);
      this.#pending.push({ sequence, arrivalUs });
    }
  }

  /** RTCP packets to send now, usually none or one. */
  takeDue(nowMs: number, senderSsrc: number, mediaSsrc: number): Buffer[] {
    if (this.#pending.length === 0 || nowMs - this.#lastFeedbackMs < FEEDBACK_INTERVAL_MS) {
      return [];
    }
    this.#lastFeedbackMs = nowMs;
    let arrivals = this.#sortedWithoutDuplicates();
    this.#pending = [];
    const packets: Buffer[] = [];
    while (arrivals.length > 0) {
      const first = arrivals[0]?.sequence ?? 0;
      const expected = this.#nextSequence ?? first;
      // After a long gap the packets between are not worth reporting as lost.
      const base = first < expected || first - expected > MAX_REORDER ? first : expected;
      const built = buildTransportFeedback(arrivals, {
        senderSsrc,
        mediaSsrc,
        baseSequence: base,
        feedbackCount: this.#feedbackCount,
      });
      if (built === undefined) {
        break;
      }
      packets.push(built.packet);
      this.#feedbackCount = (this.#feedbackCount + 1) & 0xff;
      this.#nextSequence = Math.max(built.nextSequence, this.#nextSequence ?? 0);
      arrivals = arrivals.slice(built.consumed);
    }
    return packets;
  }

  #sortedWithoutDuplicates(): Arrival[] {
    const oldest = (this.#nextSequence ?? Number.NEGATIVE_INFINITY) - MAX_REORDER;
    const sorted = this.#pending
      .filter(({ sequence }) => sequence >= oldest)
      .sort((a, b) => a.sequence - b.sequence);
    return sorted.filter(({ sequence }, index) => sequence !== sorted[index - 1]?.sequence);
  }
}
