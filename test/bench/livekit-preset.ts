import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const FFMPEG = process.env['FFMPEG_PATH'] ?? 'ffmpeg';
const run = promisify(execFile);
const LAYERS = [
  { size: '1280:720', kbps: 1_900 },
  { size: '640:360', kbps: 671 },
  { size: '320:180', kbps: 237 },
];
const X264 = ['-c:v', 'libx264', '-preset', 'veryfast', '-tune', 'zerolatency', '-profile:v', 'baseline'];

/** What a transcoding ingress does with a file: CPU seconds per second of it, as ffmpeg itself counts them. */
export const LIVEKIT_PRESET = 'ffmpeg: decode, 720p+360p+180p x264 veryfast, Opus';

export async function liveKitPresetCores(clip: string, clipSeconds: number): Promise<number> {
  const split = `[0:v]split=3${LAYERS.map((_, i) => `[s${i}]`).join('')}`;
  const scales = LAYERS.map(({ size }, i) => `[s${i}]scale=${size}[v${i}]`);
  const { stderr } = await run(FFMPEG, [
    ...['-hide_banner', '-nostats', '-benchmark', '-y', '-i', clip],
    ...['-filter_complex', [split, ...scales].join(';')],
    ...LAYERS.flatMap(({ kbps }, i) => ['-map', `[v${i}]`, ...X264, '-b:v', `${kbps}k`, '-f', 'null', '-']),
    ...['-map', '0:a', '-c:a', 'libopus', '-b:a', '96k', '-f', 'null', '-'],
  ]);
  const times = /bench: utime=([\d.]+)s stime=([\d.]+)s/.exec(stderr);
  if (times === null) {
    throw new Error(`ffmpeg -benchmark said nothing: ${stderr.slice(-500)}`);
  }
  return (Number(times[1]) + Number(times[2])) / clipSeconds;
}
