import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createLogger } from '../../../services/base/logger.ts';
import { MediaTicker } from '../../../services/sfu/forwarding/media-ticker.ts';

const SECOND_MS = 1_000;

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

function countingTicker(isAwaited: () => boolean): { ticker: MediaTicker; perSecond: () => number } {
  const ticker = new MediaTicker(createLogger({ level: 'silent' }));
  let ticks = 0;
  ticker.add(() => {
    ticks += 1;
    return isAwaited();
  });
  const perSecond = (): number => {
    ticks = 0;
    vi.advanceTimersByTime(SECOND_MS);
    return ticks;
  };
  return { ticker, perSecond };
}

test('ticks every 20 ms while somebody waits, every 250 ms when nobody does', () => {
  let isAwaited = true;
  const { perSecond } = countingTicker(() => isAwaited);
  expect(perSecond()).toBe(50);
  isAwaited = false;
  perSecond();
  expect(perSecond()).toBe(4);
  isAwaited = true;
  perSecond();
  expect(perSecond()).toBe(50);
});

test('a packet that needs a tick does not wait for the idle one', () => {
  const { ticker, perSecond } = countingTicker(() => false);
  perSecond();
  expect(perSecond()).toBe(4);
  ticker.hurry();
  expect(perSecond()).toBeGreaterThan(4);
});

test('a listener that throws stops neither the clock nor the others', () => {
  const { ticker, perSecond } = countingTicker(() => true);
  ticker.add(() => {
    throw new Error('broken');
  });
  expect(perSecond()).toBe(50);
});

test('stops with its last listener', () => {
  const ticker = new MediaTicker(createLogger({ level: 'silent' }));
  const remove = ticker.add(() => true);
  remove();
  expect(vi.getTimerCount()).toBe(0);
});
