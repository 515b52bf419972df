import path from 'node:path';
import { flashBeepInputs, passthroughH264 } from '../../fixtures/flash-beep.ts';
import { ffmpeg } from './ffmpeg-encoder.ts';

export const CLIP = { width: 320, height: 180, framesPerSecond: 30 };

const H264 = passthroughH264({ framesPerSecond: CLIP.framesPerSecond, bitrateKbps: 500 });
const B_FRAMES = ['-c:v', 'libx264', '-preset', 'veryfast', '-bf', '2', '-g', '60', '-pix_fmt', 'yuv420p'];
const AAC = ['-c:a', 'aac', '-b:a', '128k'];
const OPUS = ['-c:a', 'libopus', '-b:a', '96k'];
const VPX = ['-deadline', 'realtime', '-cpu-used', '8', '-b:v', '500k', '-g', '60'];

/** File name → how it is encoded. */
const RECIPES = {
  'clip.mp4': [...H264, ...AAC, '-movflags', '+faststart'],
  /** What is needed to read it comes last. */
  'moov-last.mp4': [...H264, ...AAC],
  'reordered.mov': [...B_FRAMES, ...AAC],
  'clip.mkv': [...H264, ...OPUS],
  'vp8.webm': ['-c:v', 'libvpx', ...VPX, ...OPUS],
  'vp9.webm': ['-c:v', 'libvpx-vp9', ...VPX, ...OPUS],
  'clip.ogg': ['-c:v', 'libtheora', '-q:v', '8', '-c:a', 'libvorbis', '-f', 'ogg'],
  'clip.mp3': ['-vn', '-c:a', 'libmp3lame', '-b:a', '128k'],
  'clip.m4a': ['-vn', ...AAC],
  'reordered.ts': [...B_FRAMES, ...AAC, '-f', 'mpegts'],
  'clip.ts': [...H264, ...AAC, '-f', 'mpegts'],
  'hevc.mkv': ['-c:v', 'libx265', '-preset', 'ultrafast', '-x265-params', 'log-level=error', ...AAC],
} as const;

export type ClipName = keyof typeof RECIPES;

/** Writes flash/beep clips of these names into a folder. */
export async function makeClips(folder: string, names: readonly ClipName[], seconds: number): Promise<void> {
  const source = flashBeepInputs({ ...CLIP, realTime: false });
  for (const name of names) {
    await ffmpeg([...source, '-t', String(seconds), ...RECIPES[name], path.join(folder, name)]);
  }
}

/** A VOD playlist beside an existing clip, its segments named after it. */
export async function makePlaylist(folder: string, clip: string, playlist: string): Promise<void> {
  await ffmpeg([
    ...['-i', path.join(folder, clip), '-c', 'copy', '-f', 'hls', '-hls_time', '2'],
    ...['-hls_playlist_type', 'vod', path.join(folder, playlist)],
  ]);
}
