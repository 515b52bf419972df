import { expect, it } from 'vitest';
import { SeededRandom } from '../support/seeded-random.ts';
import { fuzzWire } from '../support/wire-fuzz.ts';

/** FUZZ_SEED repeats a run. */
const SEED = Number(process.env['FUZZ_SEED'] ?? '1');
const ROUNDS = 10;
const CASES_PER_ROUND = 100_000;
const MAX_GROWTH_BYTES = 200_000_000;

it('a million conversations with lies in them are read or refused, and memory stays where it was', () => {
  const random = new SeededRandom(SEED);
  fuzzWire(CASES_PER_ROUND / 10, random);
  const before = process.memoryUsage().rss;
  let refused = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const report = fuzzWire(CASES_PER_ROUND, random);
    expect(report.faults).toEqual([]);
    refused += report.refused;
    expect(process.memoryUsage().rss - before).toBeLessThan(MAX_GROWTH_BYTES);
  }
  console.info(`seed ${SEED}: ${ROUNDS * CASES_PER_ROUND} cases, ${refused} refused`);
}, 600_000);
