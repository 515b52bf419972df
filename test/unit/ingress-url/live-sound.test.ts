import { expect, test } from 'vitest';
import { LiveSound } from '../../../services/ingress/url/live-sound.ts';

const PACKET_US = 20_000;

/** @returns indices of the packets that are left out. */
function leftOut(outUs: readonly number[], mediaUs = (index: number) => index * PACKET_US): number[] {
  const sound = new LiveSound();
  return outUs.flatMap((us, index) => (sound.takes(mediaUs(index), us) ? [] : [index]));
}

test('sound at its own pace stays whole, also behind gaps and when it comes late', () => {
  const steady = Array.from({ length: 50 }, (_, index) => index * PACKET_US);
  expect(leftOut(steady)).toEqual([]);
  expect(leftOut(steady.map((us, index) => us + (index > 20 ? 700_000 : 0)))).toEqual([]);
  const gap = (index: number): number => index * PACKET_US + (index > 20 ? 3_000_000 : 0);
  expect(
    leftOut(
      steady.map((_, index) => gap(index)),
      gap,
    ),
  ).toEqual([]);
});

test.each([1_000, 4_000, 12_000, 20_000])(
  'what was squeezed by %s µs a packet is left out, and the rest is never half a packet late',
  (byUs) => {
    const outUs = Array.from({ length: 60 }, (_, index) => index * PACKET_US - Math.min(index, 20) * byUs);
    const out = leftOut(outUs);
    const packets = (20 * byUs) / PACKET_US;
    expect(out.length).toBeGreaterThanOrEqual(packets - 0.5);
    expect(out.length).toBeLessThanOrEqual(packets * 1.5 + 1);
    expect(out.every((index) => index <= 21)).toBe(true);
  },
);
