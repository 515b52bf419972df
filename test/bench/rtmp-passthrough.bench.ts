import type { BenchRow } from '../support/bench-row.ts';
import { STREAM_WARM_UP_S } from './bench-node.ts';
import { measurePassthrough } from './rtmp-passthrough-run.ts';

const MEASURED_S = 20;
const TARGET_CORES = 0.03;

/** What one OBS stream costs. */
export async function bench(): Promise<BenchRow[]> {
  const { cores, treatment, baseline } = await measurePassthrough({
    streams: 1,
    warmUpS: STREAM_WARM_UP_S,
    measuredS: MEASURED_S,
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
