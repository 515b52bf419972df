import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { readBarcode } from './flash-beep.ts';

/** The size `readBarcode` reads. */
const GRAY = { width: 320, height: 180 };

/** The counter in every picture of a film or still of the flash/beep picture; time 0 is the first picture. */
export async function frameCounters(file: string): Promise<{ timeS: number; value: number }[]> {
  const run = promisify(execFile);
  const [gray, times] = await Promise.all([
    run(
      'ffmpeg',
      [
        ...['-v', 'error', '-i', file, '-map', '0:v:0', '-vsync', 'passthrough'],
        ...['-vf', `scale=${GRAY.width}:${GRAY.height}:flags=area,format=gray`, '-f', 'rawvideo', '-'],
      ],
      { encoding: 'buffer', maxBuffer: 512_000_000 },
    ),
    run(
      'ffprobe',
      [
        ...['-v', 'error', '-select_streams', 'v:0', '-show_entries', 'frame=best_effort_timestamp_time'],
        ...['-of', 'csv=p=0', file],
      ],
      { maxBuffer: 16_000_000 },
    ),
  ]);
  const timesS = times.stdout.trim().split('\n').map(Number.parseFloat);
  const bytes = GRAY.width * GRAY.height;
  return Array.from({ length: Math.floor(gray.stdout.length / bytes) }, (_, index) => ({
    timeS: (timesS[index] ?? 0) - (timesS[0] ?? 0),
    value: readBarcode(gray.stdout.subarray(index * bytes, (index + 1) * bytes)),
  }));
}
