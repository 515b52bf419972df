import type { EncodedVideoCodec, TargetLayer, VideoTarget } from '../../model/ingress.ts';
import type { VideoCodec } from '../../model/packet.ts';

const KEYFRAME_INTERVAL_S = 2;
/** Times have millisecond steps, so frames of exactly the wanted rate may come a little early. */
const RATE_TOLERANCE_S = 0.004;
/** Times are rounded on their way through containers. */
const START_TOLERANCE_S = 0.002;
/** LiveKit's: one more thread for every picture of 640x480. */
const PIXELS_PER_THREAD = 640 * 480;

/** ffmpeg 5 knows no IVF tag for HEVC, so its decoder is named. */
const INPUT_FORMAT: Readonly<Record<VideoCodec, readonly string[]>> = {
  h264: ['-f', 'flv'],
  h265: ['-f', 'ivf', '-c:v', 'hevc'],
  vp8: ['-f', 'ivf'],
  vp9: ['-f', 'ivf'],
  av1: ['-f', 'ivf'],
};

/** The times a picture came with: by default they are rounded to its rate, and two that share a step are lost or late. */
const TIME_BASE = ['-enc_time_base', '1:1000'] as const;

/** What a transcoder makes: one encoding for each layer, lowest first. */
export type TranscodeTarget = {
  codec: EncodedVideoCodec;
  framerate: number;
  layers: readonly TargetLayer[];
};

/**
 * FLV (H.264) or IVF (all others) in; out for each layer FLV (H.264) or IVF (VP8) on a pipe of its own, stdout first:
 * containers that we read and write ourselves, with timestamps. One decoder thread, since frame threads each hold a
 * frame back; sliced encoding (zerolatency) uses the others. Interlaced pictures are woven together, surplus frames
 * left out; every layer is scaled from the one above it.
 * @param startS pictures before this time are decoded and not encoded.
 */
export function videoTranscodeArgs(
  target: TranscodeTarget,
  codec: VideoCodec = 'h264',
  startS = 0,
): string[] {
  const highestFirst = target.layers.map((layer, index) => ({ layer, index })).reverse();
  return [
    ...['-v', 'error', '-threads', '1', '-probesize', '32', '-analyzeduration', '0', '-copyts'],
    ...[...INPUT_FORMAT[codec], '-i', 'pipe:0'],
    ...['-filter_complex', layerFilters(target, highestFirst, startS)],
    ...highestFirst.flatMap(({ layer, index }) => [
      ...[
        '-map',
        `[l${index}]`,
        '-vsync',
        '0',
        ...layerEncoderArgs(target, layer, codec !== 'h264'),
        ...keyframes(startS),
      ],
      ...['-avoid_negative_ts', 'disabled', ...CONTAINER[target.codec]],
      ...['-flush_packets', '1', outputPipe(index)],
    ]),
  ];
}

const CONTAINER: Readonly<Record<EncodedVideoCodec, readonly string[]>> = {
  h264: ['-f', 'flv', '-flvflags', 'no_duration_filesize'],
  vp8: ['-f', 'ivf'],
};

/** Where the layer with this index comes out. */
function outputPipe(index: number): string {
  return index === 0 ? 'pipe:1' : `pipe:${index + 2}`;
}

function layerFilters(
  { framerate }: TranscodeTarget,
  highestFirst: readonly { layer: TargetLayer; index: number }[],
  startS: number,
): string {
  const start = startS > 0 ? `select='gte(t,${(startS - START_TOLERANCE_S).toFixed(4)})',` : '';
  return highestFirst
    .map(({ layer: { width, height }, index }, position) => {
      const input = position === 0 ? `[0:v:0]${start}${rateFilters(framerate)},` : `[s${index}]`;
      const scaled = `${input}scale=w=${width}:h=${height},format=yuv420p`;
      return index === 0 ? `${scaled}[l${index}]` : `${scaled},split[l${index}][s${index - 1}]`;
    })
    .join(';');
}

function rateFilters(framerate: number): string {
  const minStepS = (1 / framerate - RATE_TOLERANCE_S).toFixed(4);
  return `yadif=deint=interlaced,select='isnan(prev_selected_t)+gte(t-prev_selected_t,${minStepS})'`;
}

/** @param fromIvf IVF tells no frame rate, and x264 would share the bits out over a million frames a second. */
function layerEncoderArgs(
  { codec, framerate }: TranscodeTarget,
  layer: TargetLayer,
  fromIvf: boolean,
): string[] {
  const threads = Math.min(8, Math.ceil((layer.width * layer.height) / PIXELS_PER_THREAD));
  switch (codec) {
    case 'h264':
      return [
        ...['-threads', String(threads), ...h264Args(layer)],
        ...(fromIvf ? ['-x264-params', `fps=${framerate}`] : []),
      ];
    case 'vp8': {
      const rate = `${layer.bitrateKbps}k`;
      return [
        ...['-threads', String(threads), '-c:v', 'libvpx', '-deadline', 'realtime', '-cpu-used', '-6'],
        ...['-lag-in-frames', '0', '-auto-alt-ref', '0', ...TIME_BASE],
        ...['-b:v', rate, '-minrate', rate, '-maxrate', rate, '-bufsize', rate],
      ];
    }
  }
}

/** For a source whose size is not known: scaled into the target, which is turned with it, to even sides. */
export function videoFilterArgs({ width, height, framerate }: VideoTarget): string[] {
  const longSide = Math.max(width, height);
  const shortSide = Math.min(width, height);
  const boxWidth = `if(gte(iw,ih),${longSide},${shortSide})`;
  const boxHeight = `if(gte(iw,ih),${shortSide},${longSide})`;
  const factor = `min(1,min(${boxWidth}/iw,${boxHeight}/ih))`;
  const even = (side: string): string => `'2*trunc(${side}*${factor}/2)'`;
  return ['-vf', `${rateFilters(framerate)},scale=w=${even('iw')}:h=${even('ih')},format=yuv420p`];
}

function keyframes(startS = 0): string[] {
  const since = startS > 0 ? `${startS.toFixed(3)}+` : '';
  return ['-force_key_frames', `expr:gte(t,${since}n_forced*${KEYFRAME_INTERVAL_S})`];
}

/** H.264 as every browser takes it. */
export function videoEncoderArgs(target: Pick<VideoTarget, 'bitrateKbps'>): string[] {
  return [...h264Args(target), ...keyframes()];
}

function h264Args({ bitrateKbps }: Pick<VideoTarget, 'bitrateKbps'>): string[] {
  return [
    ...['-c:v', 'libx264', '-preset', 'veryfast', '-tune', 'zerolatency', '-profile:v', 'baseline'],
    ...TIME_BASE,
    ...['-b:v', `${bitrateKbps}k`, '-maxrate', `${bitrateKbps}k`, '-bufsize', `${bitrateKbps}k`],
  ];
}
