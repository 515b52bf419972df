import { monotonicUs } from '../../base/clock.ts';
import type { EncodedPacket } from '../../model/packet.ts';

/**
 * Longest wait of a picture for its sound; transcoding AAC takes 30 to 120 ms. What waits longer leaves with whatever comes
 * next, which is a picture later as a rule.
 */
const MAX_HOLD_US = 200_000;
/** For the last pictures before a silence. A timer that fires for each picture in time would wake the process for nothing. */
const LOOK_AGAIN_MS = 1_000;
/** Sound that paused this long is no longer waited for. */
const SOUND_STALE_US = 500_000;

type Held = { packet: EncodedPacket; deadlineUs: number };

/**
 * Lets picture and sound of one moment leave together. Sound is transcoded and comes out later than a picture that
 * passes through; receivers would have to learn the difference from sender reports, for which Chrome takes many
 * seconds – seconds in which a recording is out of sync.
 */
export class LipSyncGate {
  readonly #forward: (packet: EncodedPacket) => void;
  #held: Held[] = [];
  /** End of the sound sent so far, on the session clock. */
  #soundUntilUs = Number.NEGATIVE_INFINITY;
  #soundSeenUs = Number.NEGATIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;

  constructor(forward: (packet: EncodedPacket) => void) {
    this.#forward = forward;
  }

  write(packet: EncodedPacket): void {
    if (packet.kind === 'audio') {
      this.#forward(packet);
      this.#soundUntilUs = Math.max(this.#soundUntilUs, packet.ptsUs + packet.durationUs);
      this.#soundSeenUs = monotonicUs();
    } else {
      this.#held.push({ packet, deadlineUs: monotonicUs() + MAX_HOLD_US });
    }
    this.#release();
  }

  /** Drops what is held. */
  close(): void {
    clearTimeout(this.#timer);
    this.#held = [];
  }

  #release(): void {
    const nowUs = monotonicUs();
    const isSoundStale = nowUs - this.#soundSeenUs > SOUND_STALE_US;
    for (
      let next = this.#held[0];
      next !== undefined &&
      (isSoundStale || next.packet.ptsUs <= this.#soundUntilUs || nowUs >= next.deadlineUs);
      next = this.#held[0]
    ) {
      this.#held.shift();
      this.#forward(next.packet);
    }
    if (this.#held.length > 0 && this.#timer === undefined) {
      this.#timer = setTimeout(() => {
        this.#timer = undefined;
        this.#release();
      }, LOOK_AGAIN_MS);
    }
  }
}
