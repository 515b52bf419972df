import type { BenchRow } from '../support/bench-row.ts';
import { measurePassthrough } from './rtmp-passthrough-run.ts';

const STREAMS = 20;
/** The code is hot sooner than with one stream. */
const WARM_UP_S = 30;
const MEASURED_S = 20;
const TARGET_CORES = 1;

/** Many OBS streams in one process, each into a room of its own. */
export async function bench(): Promise<BenchRow[]> {
  const { cores, treatment, baseline } = await measurePassthrough({
    streams: STREAMS,
    warmUpS: WARM_UP_S,
    measuredS: MEASURED_S,
  });
  return [
    {
      name: `${STREAMS} RTMP streams of 1080p30 6 Mbit/s (${treatment})`,
      value: cores,
      unit: 'cores',
      target: TARGET_CORES,
      baseline: { name: `${baseline.name}, ${STREAMS} times`, value: baseline.value * STREAMS },
    },
  ];
}
