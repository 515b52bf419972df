import { describe, expect, it } from 'vitest';
import { FramePacer, HOLD_MS } from '../../../templates/composite/frame-pacer.ts';
import { seededRandom } from '../packetize/payloads.ts';

const PERIOD_MS = 1000 / 30;
/** The page's clock minus the one that stamps frames. */
const CLOCK_MS = -5_000_000;

type Frame = { timestamp: number; number: number; close(): void };

/** Plays frames whose stamps are on an even raster, whatever their arrival; answers what was shown at each tick. */
function play(options: {
  arrivalMs: (index: number, dueMs: number) => number;
  seconds?: number;
  framesPerSecond?: number;
  phaseMs?: number;
  clockMs?: number | undefined;
  before?: (pacer: FramePacer<Frame>) => void;
}) {
  const { arrivalMs, seconds = 10, framesPerSecond = 30, phaseMs = 9 } = options;
  const clockMs = 'clockMs' in options ? options.clockMs : CLOCK_MS;
  const pacer = new FramePacer<Frame>();
  options.before?.(pacer);
  let closed = 0;
  const frames = Array.from({ length: seconds * framesPerSecond }, (_, index) => {
    const dueMs = 1_000 + (index * 1000) / framesPerSecond;
    const timestamp = Math.round((dueMs - CLOCK_MS) * 1000);
    const frame: Frame = { timestamp, number: index, close: () => (closed += 1) };
    return { frame, dueMs, arrivalMs: arrivalMs(index, dueMs) };
  });
  const arrivals = [...frames].sort((a, b) => a.arrivalMs - b.arrivalMs);
  const shown: { number: number; lateMs: number }[] = [];
  let deepest = 0;
  for (let tickMs = 900 + phaseMs; tickMs < 1_000 + seconds * 1000; tickMs += PERIOD_MS) {
    for (; arrivals[0] !== undefined && arrivals[0].arrivalMs <= tickMs; arrivals.shift()) {
      pacer.push(arrivals[0].frame, arrivals[0].arrivalMs);
    }
    deepest = Math.max(deepest, pacer.waitingCount);
    if (pacer.advance(tickMs, PERIOD_MS, clockMs)) {
      const { number = 0 } = pacer.shown ?? {};
      shown.push({ number, lateMs: tickMs - (frames[number]?.dueMs ?? 0) - HOLD_MS });
    }
  }
  const waiting = pacer.waitingCount;
  pacer.close();
  const numbers = shown.map(({ number }) => number);
  const skipped = numbers.slice(1).filter((number, index) => number !== (numbers[index] ?? 0) + 1).length;
  const lateMs = shown.map((frame) => frame.lateMs);
  return { shown, skipped, deepest, waiting, lateMs, closed, sent: frames.length - arrivals.length };
}

describe('the frames of a picture on the stage', () => {
  it.each([0, 3, 9, 16, 17, 25, 33])(
    'are each shown once near their own time, at %i ms between source and stage',
    (phaseMs) => {
      const random = seededRandom(7);
      const { skipped, lateMs, shown, closed, sent } = play({
        phaseMs,
        arrivalMs: (_index, dueMs) => dueMs - 10 + random() * 20,
      });
      expect(skipped).toBe(0);
      expect(shown.length).toBeGreaterThan(290);
      expect(Math.max(...lateMs.map(Math.abs))).toBeLessThanOrEqual(21);
      expect(closed).toBe(sent);
    },
  );

  it('are not late for long after bursts and stalls, and none is lost', () => {
    const { skipped, lateMs } = play({
      arrivalMs: (index, dueMs) =>
        index % 60 < 4 ? dueMs + (4 - (index % 60)) * 33 : dueMs + (index % 3) * 13,
    });
    expect(skipped).toBe(0);
    expect(Math.max(...lateMs)).toBeLessThanOrEqual(21);
  });

  it('catch up after a stall that is longer than the wait', () => {
    const stalled = (dueMs: number): number => (dueMs > 4_000 && dueMs < 4_600 ? 4_600 : dueMs);
    const { skipped, lateMs } = play({ arrivalMs: (_index, dueMs) => stalled(dueMs) });
    expect(skipped).toBe(1);
    expect(Math.max(...lateMs)).toBeLessThanOrEqual(21);
  });

  it.each([120, -90])('are moved by what the picture is ahead of its sound: %i ms', (leadMs) => {
    const { lateMs, skipped } = play({
      arrivalMs: (_index, dueMs) => dueMs,
      before: (pacer) => {
        for (const waverMs of [0, 5, -3]) {
          pacer.setLead(leadMs + waverMs);
        }
      },
    });
    expect(skipped).toBe(0);
    expect(Math.max(...lateMs.map((late) => Math.abs(late - leadMs)))).toBeLessThanOrEqual(21);
  });

  it('do not follow estimates that waver, a single wrong one, nor senseless ones', () => {
    const { lateMs } = play({
      arrivalMs: (_index, dueMs) => dueMs,
      before: (pacer) => {
        for (const estimateMs of [40, 42, 37, 300, 41, 46, 39, -3_600_000, -3_600_000, 9_000]) {
          pacer.setLead(estimateMs);
        }
      },
    });
    expect(Math.max(...lateMs.map((late) => Math.abs(late - 40)))).toBeLessThanOrEqual(21);
  });

  it('do not follow sound that is still being moved into place', () => {
    const { lateMs } = play({
      arrivalMs: (_index, dueMs) => dueMs,
      before: (pacer) => {
        for (const estimateMs of [208, 127, 60, 20]) {
          pacer.setLead(estimateMs);
        }
      },
    });
    expect(Math.max(...lateMs.map((late) => Math.abs(late)))).toBeLessThanOrEqual(21);
  });

  it('of a faster source are thinned out without falling behind, those of a slower one repeated', () => {
    const fast = play({ framesPerSecond: 60, arrivalMs: (_index, dueMs) => dueMs });
    expect(fast.shown.length).toBeGreaterThan(290);
    expect(Math.max(...fast.lateMs.map(Math.abs))).toBeLessThanOrEqual(21);
    const slow = play({ framesPerSecond: 25, arrivalMs: (_index, dueMs) => dueMs });
    expect(slow.skipped).toBe(0);
    expect(Math.max(...slow.lateMs.map(Math.abs))).toBeLessThanOrEqual(21);
  });

  it('go by their arrival while the clock of their stamps is unknown or makes no sense', () => {
    for (const clockMs of [undefined, 77_000_000]) {
      const { skipped, lateMs } = play({ clockMs, arrivalMs: (_index, dueMs) => dueMs + 30 });
      expect(skipped).toBe(0);
      expect(Math.max(...lateMs.map((late) => Math.abs(late - 30)))).toBeLessThanOrEqual(21);
    }
  });

  it('stay bounded when nobody takes them', () => {
    const pacer = new FramePacer<Frame>();
    let closed = 0;
    for (let index = 0; index < 1000; index += 1) {
      pacer.push({ timestamp: index, number: index, close: () => (closed += 1) }, index);
    }
    expect(pacer.waitingCount).toBeLessThanOrEqual(40);
    expect(closed + pacer.waitingCount).toBe(1000);
  });
});
