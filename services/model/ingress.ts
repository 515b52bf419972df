import type { TrackSource } from './track.ts';

/** Size and rate that ingress video is transcoded to when it cannot pass through. */
export type VideoTarget = { width: number; height: number; framerate: number; bitrateKbps: number };

/** One simulcast layer that is asked for. */
export type TargetLayer = { width: number; height: number; bitrateKbps: number };
/** What ingress video is encoded as. */
export type EncodedVideoCodec = 'h264' | 'vp8';

/** What one RTMP endpoint publishes, nothing optional. */
export type IngressSettings = {
  ingressId: string;
  roomName: string;
  participant: { identity: string; name: string; metadata: string };
  audio: { name: string; source: TrackSource; channels: 1 | 2; bitrateKbps: number };
  video: {
    name: string;
    source: TrackSource;
    /** The highest layer. */
    target: VideoTarget;
    /** Lowest first; the last one is the target. */
    layers: readonly TargetLayer[];
    codec: EncodedVideoCodec;
    /**
     * The target was asked for: larger pictures and other codecs do not pass through, and a picture that passes gets
     * the lower layers as well.
     */
    targetIsLimit: boolean;
    /** What cannot pass through is refused (enable_transcoding = false). */
    mayTranscode: boolean;
  };
};

export type VideoPreset = VideoTarget & { layers: 1 | 2 | 3 };

const HD: VideoTarget = { width: 1280, height: 720, framerate: 30, bitrateKbps: 1_900 };
const FULL_HD: VideoTarget = { width: 1920, height: 1080, framerate: 30, bitrateKbps: 3_500 };
const QUARTER_HD: VideoTarget = { width: 960, height: 540, framerate: 25, bitrateKbps: 1_000 };

/** LiveKit's IngressVideoEncodingPreset, by its number; the second half is for high motion. */
export const VIDEO_PRESETS: readonly VideoPreset[] = [
  { ...HD, layers: 3 },
  { ...FULL_HD, layers: 3 },
  { ...QUARTER_HD, layers: 2 },
  { ...HD, layers: 1 },
  { ...FULL_HD, layers: 1 },
  { ...HD, bitrateKbps: 2_500, layers: 3 },
  { ...FULL_HD, bitrateKbps: 4_500, layers: 3 },
  { ...QUARTER_HD, bitrateKbps: 1_300, layers: 2 },
  { ...HD, bitrateKbps: 2_500, layers: 1 },
  { ...FULL_HD, bitrateKbps: 4_500, layers: 1 },
];

/** Lowest first: each layer has half the width and height of the one above, and ¾-power of its bits by area. */
export function presetLayers({ width, height, bitrateKbps, layers }: VideoPreset): TargetLayer[] {
  return Array.from({ length: layers }, (_, index) => {
    const halvings = layers - 1 - index;
    const [w, h] = [width >> halvings, height >> halvings];
    return {
      width: w,
      height: h,
      bitrateKbps: Math.floor(bitrateKbps * ((w * h) / (width * height)) ** 0.75),
    };
  });
}

const REFERENCE = { pixels: 1920 * 1080, framerate: 30, bitrateKbps: 3_500 };

/** LiveKit's rule for layers without a bitrate: 3.5 Mbit/s at 1080p30, scaled by area and rate to the power of ¾. */
export function scaledBitrateKbps(width: number, height: number, framerate: number): number {
  const share = ((width * height) / REFERENCE.pixels) * (framerate / REFERENCE.framerate);
  return Math.floor(REFERENCE.bitrateKbps * share ** 0.75);
}
