import { monotonicUs } from '../base/clock.ts';
import { readU16 } from '../media/rtp/bytes.ts';
import { extensionOffset, findExtension } from '../media/rtp/rtp-header.ts';
import { SequenceUnwrapper } from '../media/rtp/sequence.ts';
import { buildTransportFeedback, type Arrival } from '../media/rtp/transport-feedback.ts';

const MAX_KBPS = 100_000;
const MIN_KBPS = 300;
/** Thresholds of the loss-based controller in draft-ietf-rmcat-gcc-02 §6, per 256. */
const LOSS = { increaseBelow: 5, decreaseAbove: 26 } as const;

/**
 * What REMB announces. A recorder wants the best layer, so the announcement starts at the top and only loss brings it
 * down.
 */
export class ReceiveEstimate {
  #kbps = MAX_KBPS;

  get bitrateBps(): number {
    return this.#kbps * 1000;
  }

  /** `fractionLost` per 256, of the worst stream; `receivedKbps` of all streams together. */
  onInterval(fractionLost: number, receivedKbps: number): void {
    if (fractionLost > LOSS.decreaseAbove) {
      const from = Math.min(this.#kbps, Math.max(receivedKbps, MIN_KBPS));
      this.#kbps = Math.max(MIN_KBPS, from * (1 - 0.5 * (fractionLost / 256)));
    } else if (fractionLost < LOSS.increaseBelow) {
      this.#kbps = Math.min(MAX_KBPS, this.#kbps * 1.08 + 50);
    }
  }
}

/** Arrivals kept between two feedback packets; more means that the timer did not run. */
const MAX_ARRIVALS = 4000;

/** Transport-wide feedback over everything that arrives on the connection. */
export class TransportFeedbackCollector {
  readonly #unwrapper = new SequenceUnwrapper();
  #arrivals: Arrival[] = [];
  #next = -1;
  #count = 0;

  onPacket(packet: Buffer, extensionId: number): void {
    const found = findExtension(packet, extensionId);
    if (found >= 0 && this.#arrivals.length < MAX_ARRIVALS) {
      const sequence = this.#unwrapper.unwrap(readU16(packet, extensionOffset(found)));
      this.#arrivals.push({ sequence, arrivalUs: monotonicUs() });
    }
  }

  /** Feedback packets for what arrived since the last call. */
  take(senderSsrc: number, mediaSsrc: number): Buffer[] {
    let rest = this.#sorted();
    this.#arrivals = [];
    const packets: Buffer[] = [];
    while (rest.length > 0) {
      const baseSequence = this.#next < 0 ? (rest[0]?.sequence ?? 0) : this.#next;
      const built = buildTransportFeedback(rest, {
        senderSsrc,
        mediaSsrc,
        baseSequence,
        feedbackCount: this.#count & 0xff,
      });
      if (built === undefined || built.consumed === 0) {
        this.#next = -1;
        break;
      }
      this.#count += 1;
      this.#next = built.nextSequence;
      packets.push(built.packet);
      rest = rest.slice(built.consumed);
    }
    return packets;
  }

  /** By sequence, without duplicates and without what was already reported as missing. */
  #sorted(): Arrival[] {
    const sorted = this.#arrivals.toSorted((a, b) => a.sequence - b.sequence);
    return sorted.filter(
      ({ sequence }, index) => sequence >= this.#next && sequence !== sorted[index - 1]?.sequence,
    );
  }
}
