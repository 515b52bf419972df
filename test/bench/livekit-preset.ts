import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { IngressVideoEncodingPreset } from '@livekit/protocol';
import { presetLayers, VIDEO_PRESETS } from '../../services/model/ingress.ts';
import { CLIP_SECONDS } from './bench-clip.ts';

const FFMPEG = process.env['FFMPEG_PATH'] ?? 'ffmpeg';
const run = promisify(execFile);
const DEFAULT = { width: 1280, height: 720, framerate: 30, bitrateKbps: 1_900, layers: 3 } as const;
const X264 = ['-c:v', 'libx264', '-preset', 'veryfast', '-tune', 'zerolatency', '-profile:v', 'baseline'];

/**
 * What a transcoding ingress does with a clip of `CLIP_SECONDS`, by default with LiveKit's default preset: CPU seconds
 * per second of it, as ffmpeg itself counts them.
 */
export async function livekitPresetCores(
  clip: string,
  preset?: IngressVideoEncodingPreset,
): Promise<{ name: string; value: number }> {
  const layers = presetLayers(VIDEO_PRESETS[preset ?? 0] ?? DEFAULT).reverse();
  const split = `[0:v]split=${layers.length}${layers.map((_, i) => `[s${i}]`).join('')}`;
  const scales = layers.map(({ width, height }, i) => `[s${i}]scale=${width}:${height}[v${i}]`);
  const { stderr } = await run(FFMPEG, [
    ...['-hide_banner', '-nostats', '-benchmark', '-y', '-i', clip],
    ...['-filter_complex', [split, ...scales].join(';')],
    ...layers.flatMap(({ bitrateKbps }, i) => [
      ...['-map', `[v${i}]`, ...X264, '-b:v', `${bitrateKbps}k`, '-f', 'null', '-'],
    ]),
    ...['-map', '0:a', '-c:a', 'libopus', '-b:a', '96k', '-f', 'null', '-'],
  ]);
  const times = /bench: utime=([\d.]+)s stime=([\d.]+)s/.exec(stderr);
  if (times === null) {
    throw new Error(`ffmpeg -benchmark said nothing: ${stderr.slice(-500)}`);
  }
  const sizes = layers.map(({ height }) => `${height}p`).join('+');
  return {
    name: `ffmpeg: decode, ${sizes} x264 veryfast, Opus`,
    value: (Number(times[1]) + Number(times[2])) / CLIP_SECONDS,
  };
}
