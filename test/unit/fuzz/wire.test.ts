import { expect, test } from 'vitest';
import { SeededRandom } from '../../support/seeded-random.ts';
import { fuzzWire } from '../../support/wire-fuzz.ts';

const CASES = 100_000;
const MAX_GROWTH_BYTES = 200_000_000;

test('100 000 conversations with lies in them are read or refused, in bounded memory', () => {
  const before = process.memoryUsage();
  const report = fuzzWire(CASES, new SeededRandom(2026_11_21));
  const after = process.memoryUsage();
  expect(report.faults).toEqual([]);
  // Both happen: what is always refused, or never, tests nothing.
  expect(report.refused).toBeGreaterThan(CASES * 0.2);
  expect(report.refused).toBeLessThan(CASES * 0.95);
  expect(after.rss - before.rss).toBeLessThan(MAX_GROWTH_BYTES);
}, 60_000);
