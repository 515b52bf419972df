/** How long a frame waits at least, so that it is there when its time has come and a late picture can be moved forward. */
export const HOLD_MS = 150;
/** A picture ahead of its sound is held back by so much more at most: waiting frames are memory. */
const MAX_LEAD_MS = 400;
/** A late picture cannot be moved further forward: some frames must always wait. */
const MAX_LAG_MS = HOLD_MS - 30;
/** Chrome's estimates waver by less; following them would cost frames. */
const DEAD_BAND_MS = 8;
const ESTIMATES = 3;
/**
 * Estimates further apart than this are of a picture or sound that Chrome is still moving into place (the first seconds, a
 * stall): they are over before they could be followed.
 */
const STEADY_MS = 40;
/** Beyond this, the publisher's reports make no sense. */
const MAX_ESTIMATE_MS = 2_000;
/** A stage that stands still must not fill the memory. */
const MAX_WAITING = 40;
/**
 * In parts of the stage's period: how far a frame's time may lie from the tick that shows it. Beyond a half, so that a
 * source that is in step with the stage does not lose frames to jitter.
 */
const TOLERANCE = 0.6;
/** A time stamp further from the arrival than this is not of the clock we take it for. */
const MAX_PLAUSIBLE_MS = 1_000;

type PacedFrame = {
  /** Microseconds: when it is to be shown by Chrome's jitter buffer, on the monotonic clock. */
  readonly timestamp: number;
  close(): void;
};

type Waiting<Frame> = { frame: Frame; arrivalMs: number };

/**
 * The frames of one picture between their arrival and the moment they are painted. Each is painted at the tick nearest
 * to its own time, which does not know the bursts and stalls it came in, plus a fixed delay, and moved by what its picture
 * is ahead of its sound.
 */
export class FramePacer<Frame extends PacedFrame> {
  readonly #waiting: Waiting<Frame>[] = [];
  readonly #estimatesMs: number[] = [];
  #shown: Frame | undefined;
  #leadMs = 0;

  /** What is to be seen now; undefined before the first frame. */
  get shown(): Frame | undefined {
    return this.#shown;
  }

  get waitingCount(): number {
    return this.#waiting.length;
  }

  /** Takes a frame over. */
  push(frame: Frame, arrivalMs: number): void {
    this.#waiting.push({ frame, arrivalMs });
    if (this.#waiting.length > MAX_WAITING) {
      this.#waiting.shift()?.frame.close();
    }
  }

  /** An estimate of how far the picture is ahead of its sound (negative: behind) when both come out of their buffers. */
  setLead(estimateMs: number): void {
    if (Math.abs(estimateMs) > MAX_ESTIMATE_MS) {
      return;
    }
    this.#estimatesMs.push(estimateMs);
    if (this.#estimatesMs.length > ESTIMATES) {
      this.#estimatesMs.shift();
    }
    const [leastMs = 0, medianMs = 0, mostMs = Infinity] = [...this.#estimatesMs].sort((a, b) => a - b);
    if (mostMs - leastMs <= STEADY_MS && Math.abs(medianMs - this.#leadMs) > DEAD_BAND_MS) {
      this.#leadMs = Math.max(-MAX_LAG_MS, Math.min(MAX_LEAD_MS, medianMs));
    }
  }

  /**
   * Moves on to the frame that belongs to this tick; false when the shown one stays.
   * @param clockMs our clock minus the monotonic one; undefined = unknown, arrival has to do
   */
  advance(tickMs: number, periodMs: number, clockMs: number | undefined): boolean {
    const slackMs = TOLERANCE * periodMs;
    const distanceMs = (index: number): number => {
      const next = this.#waiting[index];
      return next === undefined ? Infinity : this.#dueMs(next, clockMs) - tickMs;
    };
    while (distanceMs(0) < -slackMs && distanceMs(1) <= slackMs) {
      this.#waiting.shift()?.frame.close();
    }
    if (distanceMs(0) > slackMs) {
      return false;
    }
    this.#shown?.close();
    this.#shown = this.#waiting.shift()?.frame;
    return true;
  }

  close(): void {
    this.#shown?.close();
    this.#shown = undefined;
    for (const { frame } of this.#waiting.splice(0)) {
      frame.close();
    }
  }

  #dueMs({ frame, arrivalMs }: Waiting<Frame>, clockMs: number | undefined): number {
    const stampMs = clockMs === undefined ? arrivalMs : frame.timestamp / 1000 + clockMs;
    const renderMs = Math.abs(stampMs - arrivalMs) < MAX_PLAUSIBLE_MS ? stampMs : arrivalMs;
    return renderMs + HOLD_MS + this.#leadMs;
  }
}
