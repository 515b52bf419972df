import type { TrackSource } from './track.ts';

/** Size and rate that ingress video is transcoded to when it cannot pass through. */
export type VideoTarget = { width: number; height: number; framerate: number; bitrateKbps: number };

/** What one RTMP endpoint publishes, nothing optional. */
export type IngressSettings = {
  ingressId: string;
  roomName: string;
  participant: { identity: string; name: string; metadata: string };
  audio: { name: string; source: TrackSource; channels: 1 | 2; bitrateKbps: number };
  video: {
    name: string;
    source: TrackSource;
    target: VideoTarget;
    /** The target was asked for, so larger pictures do not pass through. */
    targetIsLimit: boolean;
  };
};

/** Top layer of LiveKit's IngressVideoEncodingPreset, by its number. */
export const VIDEO_PRESETS: readonly VideoTarget[] = [
  { width: 1280, height: 720, framerate: 30, bitrateKbps: 1_900 },
  { width: 1920, height: 1080, framerate: 30, bitrateKbps: 3_500 },
  { width: 960, height: 540, framerate: 25, bitrateKbps: 1_000 },
  { width: 1280, height: 720, framerate: 30, bitrateKbps: 1_900 },
  { width: 1920, height: 1080, framerate: 30, bitrateKbps: 3_500 },
  { width: 1280, height: 720, framerate: 30, bitrateKbps: 2_500 },
  { width: 1920, height: 1080, framerate: 30, bitrateKbps: 4_500 },
  { width: 960, height: 540, framerate: 25, bitrateKbps: 1_300 },
  { width: 1280, height: 720, framerate: 30, bitrateKbps: 2_500 },
  { width: 1920, height: 1080, framerate: 30, bitrateKbps: 4_500 },
];

export const DEFAULT_VIDEO_TARGET: VideoTarget = {
  width: 1280,
  height: 720,
  framerate: 30,
  bitrateKbps: 1_900,
};

const REFERENCE = { pixels: 1920 * 1080, framerate: 30, bitrateKbps: 3_500 };

/** LiveKit's rule for layers without a bitrate: 3.5 Mbit/s at 1080p30, scaled by area and rate to the power of ¾. */
export function scaledBitrateKbps(width: number, height: number, framerate: number): number {
  const share = ((width * height) / REFERENCE.pixels) * (framerate / REFERENCE.framerate);
  return Math.max(100, Math.round(REFERENCE.bitrateKbps * share ** 0.75));
}
