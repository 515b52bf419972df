import { IngressVideoEncodingPreset } from '@livekit/protocol';
import type { BenchRow } from '../support/bench-row.ts';
import { measurePassthrough } from './rtmp-passthrough-run.ts';

const WARM_UP_S = 20;
const MEASURED_S = 30;
/** Of encoding all three layers. */
const TARGET_SHARE = 0.6;

/** What three layers cost when the highest is the encoder's own and only the two below it are encoded. */
export async function bench(): Promise<BenchRow[]> {
  const { cores, treatment, baseline } = await measurePassthrough({
    streams: 1,
    warmUpS: WARM_UP_S,
    measuredS: MEASURED_S,
    preset: IngressVideoEncodingPreset.H264_1080P_30FPS_3_LAYERS,
  });
  return [
    {
      name: `RTMP 1080p30 6 Mbit/s into a room in three layers (${treatment})`,
      value: cores,
      unit: 'CPU s per media s',
      target: baseline.value * TARGET_SHARE,
      baseline,
    },
  ];
}
