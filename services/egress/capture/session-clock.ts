/** CLOCK_MONOTONIC in microseconds: what libuv's hrtime and Chrome's TimeTicks both read. */
export function systemMonotonicUs(): number {
  return Number(process.hrtime.bigint() / 1000n);
}

/** Further from now than this and a timestamp is not of the monotonic clock we share with Chrome. */
const MAX_PLAUSIBLE_LAG_US = 2_000_000;
const MAX_PLAUSIBLE_LEAD_US = 100_000;

/**
 * Maps a page clock to this process's monotonic microseconds, from question-and-answer samples over loopback: the
 * sample with the shortest round trip wins (as in NTP, RFC 5905 section 8). Both clocks are CLOCK_MONOTONIC
 * underneath, so there is no drift to follow.
 */
export class ClockOffset {
  #bestRoundTripUs = Infinity;
  #offsetUs = 0;

  addSample(sentUs: number, remoteUs: number, receivedUs: number): void {
    const roundTripUs = receivedUs - sentUs;
    if (roundTripUs >= 0 && roundTripUs < this.#bestRoundTripUs) {
      this.#bestRoundTripUs = roundTripUs;
      this.#offsetUs = (sentUs + receivedUs) / 2 - remoteUs;
    }
  }

  get isKnown(): boolean {
    return this.#bestRoundTripUs !== Infinity;
  }

  /** The time on our monotonic clock at which the remote clock read `remoteUs`. */
  toLocalUs(remoteUs: number): number {
    return remoteUs + this.#offsetUs;
  }
}

/**
 * Maps the capture timestamps of one medium to our monotonic clock. `candidatesUs` are the readings the timestamp
 * may have (Chrome stamps tab video with the monotonic clock and tab audio relative to the worker's time
 * origin); the first plausible one is kept for the whole session, so that the mapping never jumps. When none
 * is plausible, the first arrival anchors the clock.
 */
export class MediaClock {
  #shiftUs: number | undefined;

  toLocalUs(captureUs: number, arrivalLocalUs: number, offsetsUs: readonly number[]): number {
    this.#shiftUs ??= pickShift(captureUs, arrivalLocalUs, offsetsUs);
    return captureUs + this.#shiftUs;
  }
}

function pickShift(captureUs: number, arrivalLocalUs: number, offsetsUs: readonly number[]): number {
  const plausible = offsetsUs.find((offsetUs) => {
    const lagUs = arrivalLocalUs - (captureUs + offsetUs);
    return lagUs >= -MAX_PLAUSIBLE_LEAD_US && lagUs <= MAX_PLAUSIBLE_LAG_US;
  });
  return plausible ?? arrivalLocalUs - captureUs;
}
