import type { Encoding } from '../../model/presets.ts';

/**
 * IVF in, FLV out. Every picture is scaled into the frame and centred on black, so the size of the input may change at
 * any key frame: the filters follow by themselves (`eval=frame`), for a graph that is built anew would forget its clock.
 * The `fps` filter counts output frames from time 0 of the input (`-copyts`) and repeats pictures over gaps, also in
 * front of the first; ffmpeg's own constant rate (`-vsync cfr`) may stay two frames late for good after a burst. One
 * decoder thread, since frame threads hold frames back.
 */
export function pictureEncoderArgs(encoding: Encoding): string[] {
  const { width, height, framerate, videoBitrateKbps, keyFrameIntervalS } = encoding;
  const keyFrameInterval = String(Math.max(1, Math.round(keyFrameIntervalS * framerate)));
  const filters = [
    `scale=w=${width}:h=${height}:force_original_aspect_ratio=decrease:force_divisible_by=2:eval=frame`,
    `pad=${width}:${height}:(ow-iw)/2:(oh-ih)/2:eval=frame`,
    'setsar=1',
    `fps=${framerate}:start_time=0`,
    'format=yuv420p',
  ];
  const bitrate = `${videoBitrateKbps}k`;
  return [
    ...['-v', 'error', '-threads', '1', '-probesize', '32', '-analyzeduration', '0', '-copyts'],
    ...['-reinit_filter', '0'],
    ...['-f', 'ivf', '-i', 'pipe:0', '-map', '0:v:0', '-vf', filters.join(',')],
    ...['-vsync', 'passthrough'],
    ...['-c:v', 'libx264', '-preset', 'veryfast', '-profile:v', encoding.videoProfile ?? 'main', '-bf', '0'],
    ...['-b:v', bitrate, '-maxrate', bitrate, '-bufsize', bitrate],
    ...['-g', keyFrameInterval, '-keyint_min', keyFrameInterval, '-sc_threshold', '0'],
    ...['-f', 'flv', '-flvflags', 'no_duration_filesize', '-flush_packets', '1', 'pipe:1'],
  ];
}
