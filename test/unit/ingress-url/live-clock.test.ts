import { describe, expect, it } from 'vitest';
import { SeededRandom } from '../../support/seeded-random.ts';
import { LiveClock } from '../../../services/ingress/url/live-clock.ts';

const FRAME_US = 33_333;

/** Of a track whose pictures are shown in the order they come. */
function at(clock: LiveClock, mediaUs: number, arrivalUs: number): number {
  return clock.at(1, { dtsUs: mediaUs, ptsUs: mediaUs }, arrivalUs).dtsUs;
}

describe('the time of live media', () => {
  it('is the media’s own while it comes when it should', () => {
    const clock = new LiveClock();
    const times = [0, 1, 2, 3].map((n) => at(clock, n * FRAME_US, 5_000_000 + n * FRAME_US));
    expect(times).toEqual([0, 1, 2, 3].map((n) => 5_000_000 + n * FRAME_US));
  });

  it('never runs ahead: what a server had stored is squeezed together, in order', () => {
    const clock = new LiveClock();
    const burst = Array.from({ length: 60 }, (_, n) => at(clock, n * FRAME_US, 1_000_000));
    expect(burst).toEqual([...burst].sort((a, b) => a - b));
    expect(new Set(burst).size).toBe(60);
    expect((burst.at(-1) ?? 0) - 1_000_000).toBeLessThan(120_000);
    // And goes on in real time from there.
    const next = at(clock, 60 * FRAME_US, 1_000_000 + FRAME_US);
    expect(next - 1_000_000).toBeLessThan(120_000 + FRAME_US);
  });

  it('keeps a late packet late, and the order of reordered pictures as it is', () => {
    const clock = new LiveClock();
    at(clock, 0, 0);
    expect(at(clock, 100_000, 900_000)).toBe(100_000);
    expect(at(clock, 33_000, 910_000)).toBe(33_000);
  });

  it('shows reordered pictures in their order, and sound in step with them, however they come', () => {
    const clock = new LiveClock();
    const random = new SeededRandom(7);
    const shown: { mediaUs: number; outUs: number }[] = [];
    let arrivalUs = 1_000_000;
    let latenessUs = 900_000;
    for (let group = 0; group < 60; group++) {
      // Comes ever less late: time has to be made up in the middle of it.
      latenessUs -= random.next() * 30_000;
      for (const [order, picture] of [3, 1, 2].entries()) {
        const dtsUs = (group * 3 + order) * FRAME_US;
        const ptsUs = (group * 3 + picture) * FRAME_US;
        arrivalUs = Math.max(arrivalUs, 1_000_000 + dtsUs + Math.max(0, latenessUs));
        shown.push({ mediaUs: ptsUs, outUs: clock.at(1, { dtsUs, ptsUs }, arrivalUs).ptsUs });
        const sound = { dtsUs, ptsUs: dtsUs };
        shown.push({ mediaUs: dtsUs, outUs: clock.at(2, sound, arrivalUs).ptsUs });
      }
    }
    const times = shown.sort((a, b) => a.mediaUs - b.mediaUs);
    const stepsUs = times.slice(1).map(({ outUs, mediaUs }, index) => ({
      media: mediaUs - (times[index]?.mediaUs ?? 0),
      out: outUs - (times[index]?.outUs ?? 0),
    }));
    expect(stepsUs.filter(({ media, out }) => (media === 0 ? out !== 0 : out < 1_000))).toEqual([]);
    const [first, last] = [times[0], times.at(-1)].map((one) => (one?.outUs ?? 0) - (one?.mediaUs ?? 0));
    expect((first ?? 0) - (last ?? 0)).toBeGreaterThan(600_000);
  });

  it('follows a stream whose time steps back, or far ahead', () => {
    const clock = new LiveClock();
    at(clock, 3_600_000_000, 1_000_000);
    expect(at(clock, 0, 1_020_000)).toBeLessThan(1_020_000);
    const back = at(clock, 20_000, 1_040_000);
    expect(back).toBeLessThan(1_040_000);
    expect(at(clock, 9_000_000_000, 1_060_000)).toBeLessThan(1_200_000);
  });
});
