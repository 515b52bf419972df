import { describe, expect, test } from 'vitest';
import { ClockOffset, MediaClock } from '../../../services/egress/capture/session-clock.ts';

describe('ClockOffset', () => {
  test('trusts the sample with the shortest round trip', () => {
    const offset = new ClockOffset();
    expect(offset.isKnown).toBe(false);
    offset.addSample(1_000, 500, 21_000);
    offset.addSample(30_000, 25_100, 30_200);
    offset.addSample(50_000, 45_900, 51_800);
    expect(offset.toLocalUs(25_100)).toBe(30_100);
    expect(offset.toLocalUs(0)).toBe(5_000);
  });
});

describe('MediaClock', () => {
  const nowUs = 2_000_000_000;

  test('takes the reading that lies just before the arrival', () => {
    const monotonic = new MediaClock();
    expect(monotonic.toLocalUs(nowUs - 12_000, nowUs, [0, 1_500_000_000])).toBe(nowUs - 12_000);
    const relative = new MediaClock();
    expect(relative.toLocalUs(500_000_000 - 20_000, nowUs, [0, 1_500_000_000])).toBe(nowUs - 20_000);
  });

  test('keeps its reading: a late frame moves nothing', () => {
    const clock = new MediaClock();
    clock.toLocalUs(nowUs - 12_000, nowUs, [0]);
    expect(clock.toLocalUs(nowUs + 33_000, nowUs + 5_000_000, [0])).toBe(nowUs + 33_000);
  });

  test('an unknown clock is anchored by the first arrival', () => {
    const clock = new MediaClock();
    expect(clock.toLocalUs(77, nowUs, [0, 1_500_000_000])).toBe(nowUs);
    expect(clock.toLocalUs(10_077, nowUs + 40_000, [0])).toBe(nowUs + 10_000);
  });
});
