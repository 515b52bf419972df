import type { BenchRow } from '../support/bench-row.ts';
import { measurePassthrough } from './rtmp-passthrough-run.ts';

/**
 * Code that runs some dozen times a second takes long to be compiled for good. In one profile each, V8's optimizing
 * compiler took 15 % of the CPU time 25 to 40 s after the start and 2 % after 85 s. A stream lasts hours.
 */
const WARM_UP_MS = 85_000;
const MEASURED_MS = 20_000;
const TARGET_CORES = 0.03;

/** What one OBS stream costs. */
export async function bench(): Promise<BenchRow[]> {
  const { cores, treatment, baseline } = await measurePassthrough({
    streams: 1,
    warmUpMs: WARM_UP_MS,
    measuredMs: MEASURED_MS,
  });
  return [
    {
      name: `RTMP 1080p30 6 Mbit/s into a room (${treatment})`,
      value: cores,
      unit: 'CPU s per media s',
      target: TARGET_CORES,
      baseline,
    },
  ];
}
