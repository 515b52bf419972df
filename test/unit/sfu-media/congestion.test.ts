import { describe, expect, it } from 'vitest';
import { allocateLayers, DownlinkCongestion } from '../../../services/sfu/forwarding/congestion.ts';

/** Seconds of a link with a fixed capacity, as a receiver behind it reports: what we send is what the limit allows. */
function simulate(
  congestion: DownlinkCongestion,
  options: { seconds: number; fromMs: number; capacityKbps: number; wantedKbps: number },
): number[] {
  const sent: number[] = [];
  for (let second = 0; second < options.seconds; second += 1) {
    const nowMs = options.fromMs + second * 1000;
    const sentKbps = Math.min(options.wantedKbps, congestion.limitKbps);
    congestion.onRemb(Math.min(options.capacityKbps, sentKbps * 1.5), nowMs);
    congestion.evaluate({ nowMs, sentKbps, wantedKbps: options.wantedKbps, fractionLost: 0 });
    sent.push(sentKbps);
  }
  return sent;
}

describe('downlink congestion', () => {
  it('does not limit a link that carries what is sent, however low the first estimates are', () => {
    const congestion = new DownlinkCongestion();
    simulate(congestion, { seconds: 60, fromMs: 0, capacityKbps: 2000, wantedKbps: 1900 });
    expect(congestion.limitKbps).toBe(Number.POSITIVE_INFINITY);
  });

  it('comes down within seconds, tries to climb ever more rarely, and recovers with the link', () => {
    const congestion = new DownlinkCongestion();
    const narrow = simulate(congestion, { seconds: 180, fromMs: 0, capacityKbps: 500, wantedKbps: 2000 });
    expect(narrow.slice(0, 4)).toContain(500);
    const over = (from: number, to: number): number =>
      narrow.slice(from, to).filter((kbps) => kbps > 500 * 1.2).length;
    expect(over(4, 180)).toBeLessThan(20);
    expect(over(90, 180)).toBeLessThanOrEqual(over(4, 90));
    const wide = simulate(congestion, { seconds: 90, fromMs: 180_000, capacityKbps: 5000, wantedKbps: 2000 });
    expect(wide.at(-1)).toBe(2000);
  });

  it('lets an estimate climb after a switch from the lowest to the highest layer', () => {
    const congestion = new DownlinkCongestion();
    simulate(congestion, { seconds: 20, fromMs: 0, capacityKbps: 5000, wantedKbps: 150 });
    let rembKbps = 225;
    for (let second = 20; second < 60; second += 1) {
      rembKbps = Math.min(5000, rembKbps * 1.08);
      congestion.onRemb(rembKbps, second * 1000);
      congestion.evaluate({ nowMs: second * 1000, sentKbps: 1700, wantedKbps: 1700, fractionLost: 0 });
      expect(congestion.limitKbps).toBe(Number.POSITIVE_INFINITY);
    }
  });

  it('forgets a REMB that is no longer repeated', () => {
    const congestion = new DownlinkCongestion();
    congestion.onRemb(100, 0);
    for (let second = 6; second < 10; second += 1) {
      congestion.evaluate({ nowMs: second * 1000, sentKbps: 1000, wantedKbps: 1000, fractionLost: 0 });
    }
    expect(congestion.limitKbps).toBe(Number.POSITIVE_INFINITY);
  });
});

describe('layer allocation', () => {
  const camera = { layersKbps: [150, 500, 1700], maxLayer: 2 };

  it.each([
    [Number.POSITIVE_INFINITY, [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY]],
    [100, [0, 0]],
    [700, [1, 0]],
    [1000, [1, 1]],
    [2300, [2, 1]],
    [4000, [2, 2]],
  ])('with %d kbit/s for two cameras gives %j', (limit, caps) => {
    expect(allocateLayers([camera, camera], limit)).toEqual(caps);
  });

  it('does not spend on layers nobody wants, and guesses the price of those switched off', () => {
    expect(allocateLayers([{ ...camera, maxLayer: 0 }, camera], 2000)).toEqual([0, 2]);
    expect(allocateLayers([{ layersKbps: [150, 0, 0], maxLayer: 2 }], 1000)).toEqual([1]);
    expect(allocateLayers([], 1000)).toEqual([]);
  });
});
