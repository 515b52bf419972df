import type { VideoTarget } from '../../model/ingress.ts';
import type { VideoCodec } from '../../model/packet.ts';

const KEYFRAME_INTERVAL_S = 2;
/** Times have millisecond steps, so frames of exactly the wanted rate may come a little early. */
const RATE_TOLERANCE_S = 0.004;

/** ffmpeg 5 knows no IVF tag for HEVC, so its decoder is named. */
const INPUT_FORMAT: Readonly<Record<VideoCodec, readonly string[]>> = {
  h264: ['-f', 'flv'],
  h265: ['-f', 'ivf', '-c:v', 'hevc'],
  vp8: ['-f', 'ivf'],
  vp9: ['-f', 'ivf'],
  av1: ['-f', 'ivf'],
};

/**
 * FLV (H.264) or IVF (all others) in, FLV out: containers that we read and write ourselves, with timestamps.
 * One decoder thread, since frame threads each hold a frame back; sliced encoding (zerolatency) uses the others.
 * Interlaced pictures are woven together, surplus frames left out, larger ones scaled down, sizes made even.
 */
export function videoTranscodeArgs(target: VideoTarget, codec: VideoCodec = 'h264'): string[] {
  return [
    ...['-v', 'error', '-threads', '1', '-probesize', '32', '-analyzeduration', '0', '-copyts'],
    ...[...INPUT_FORMAT[codec], '-i', 'pipe:0', '-map', '0:v:0', '-vsync', '0'],
    ...videoFilterArgs(target),
    ...videoEncoderArgs(target),
    // IVF tells no frame rate, and x264 would share the bits out over a million frames a second.
    ...(codec === 'h264' ? [] : ['-x264-params', `fps=${target.framerate}`]),
    ...['-avoid_negative_ts', 'disabled', '-f', 'flv', '-flvflags', 'no_duration_filesize'],
    ...['-flush_packets', '1', 'pipe:1'],
  ];
}

export function videoFilterArgs({ width, height, framerate }: VideoTarget): string[] {
  const longSide = Math.max(width, height);
  const shortSide = Math.min(width, height);
  const boxWidth = `if(gte(iw,ih),${longSide},${shortSide})`;
  const boxHeight = `if(gte(iw,ih),${shortSide},${longSide})`;
  const factor = `min(1,min(${boxWidth}/iw,${boxHeight}/ih))`;
  const even = (side: string): string => `'2*trunc(${side}*${factor}/2)'`;
  const minStepS = (1 / framerate - RATE_TOLERANCE_S).toFixed(4);
  const filters = [
    'yadif=deint=interlaced',
    `select='isnan(prev_selected_t)+gte(t-prev_selected_t,${minStepS})'`,
    `scale=w=${even('iw')}:h=${even('ih')}`,
    'format=yuv420p',
  ];
  return ['-vf', filters.join(',')];
}

export function videoEncoderArgs({ bitrateKbps }: VideoTarget): string[] {
  return [
    ...['-c:v', 'libx264', '-preset', 'veryfast', '-tune', 'zerolatency', '-profile:v', 'baseline'],
    ...['-b:v', `${bitrateKbps}k`, '-maxrate', `${bitrateKbps}k`, '-bufsize', `${bitrateKbps}k`],
    ...['-force_key_frames', `expr:gte(t,n_forced*${KEYFRAME_INTERVAL_S})`],
  ];
}
