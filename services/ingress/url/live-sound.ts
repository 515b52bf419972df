/** The longest packet anybody sends; what comes later is behind a gap. */
const LONGEST_PACKET_US = 120_000;

/**
 * Sound that came faster than real time. Pictures can be shown for a shorter time, sound would play on and be late for
 * good: packets are left out, so that what is heard at any moment is never more than half a packet late.
 */
export class LiveSound {
  #mediaUs: number | undefined;
  #endUs = Number.NEGATIVE_INFINITY;
  #wasTaken = false;

  /** @param mediaUs its own time. @param outUs the same on the clock it is sent by. @returns false: it is left out. */
  takes(mediaUs: number, outUs: number): boolean {
    const stepUs = Math.min(Math.max(mediaUs - (this.#mediaUs ?? mediaUs), 0), LONGEST_PACKET_US);
    this.#mediaUs = mediaUs;
    if (this.#wasTaken) {
      this.#endUs += stepUs;
    }
    this.#wasTaken = outUs >= this.#endUs - stepUs / 2;
    if (this.#wasTaken) {
      this.#endUs = Math.max(this.#endUs, outUs);
    }
    return this.#wasTaken;
  }
}
