import type { BenchRow } from '../support/bench-row.ts';
import { STREAM_WARM_UP_S } from './bench-node.ts';
import { measurePassthrough } from './rtmp-passthrough-run.ts';

const MEASURED_S = 20;

/** What one SRT publisher costs: its ffmpeg reads MPEG-TS and makes Opus of AAC, the picture passes. */
export async function bench(): Promise<BenchRow[]> {
  const { cores, treatment, baseline } = await measurePassthrough({
    protocol: 'srt',
    streams: 1,
    warmUpS: STREAM_WARM_UP_S,
    measuredS: MEASURED_S,
  });
  return [
    {
      name: `SRT listener 1080p30 6 Mbit/s (${treatment})`,
      value: cores,
      unit: 'CPU s per media s',
      baseline,
    },
  ];
}
