import { describe, expect, it } from 'vitest';
import { LiveClock } from '../../../services/ingress/url/live-clock.ts';

const FRAME_US = 33_333;

describe('the time of live media', () => {
  it('is the media’s own while it comes when it should', () => {
    const clock = new LiveClock();
    const times = [0, 1, 2, 3].map((n) => clock.at(1, n * FRAME_US, 5_000_000 + n * FRAME_US));
    expect(times).toEqual([0, 1, 2, 3].map((n) => 5_000_000 + n * FRAME_US));
  });

  it('never runs ahead: what a server had stored is squeezed together, in order', () => {
    const clock = new LiveClock();
    const burst = Array.from({ length: 60 }, (_, n) => clock.at(1, n * FRAME_US, 1_000_000));
    expect(burst).toEqual([...burst].sort((a, b) => a - b));
    expect(new Set(burst).size).toBe(60);
    expect((burst.at(-1) ?? 0) - 1_000_000).toBeLessThan(120_000);
    // And goes on in real time from there.
    const next = clock.at(1, 60 * FRAME_US, 1_000_000 + FRAME_US);
    expect(next - 1_000_000).toBeLessThan(120_000 + FRAME_US);
  });

  it('keeps a late packet late, and the order of reordered pictures as it is', () => {
    const clock = new LiveClock();
    clock.at(1, 0, 0);
    expect(clock.at(1, 100_000, 900_000)).toBe(100_000);
    expect(clock.at(1, 33_000, 910_000)).toBe(33_000);
  });
});
