import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { flashBeepAudio, flashBeepVideo, passthroughH264 } from '../../fixtures/flash-beep.ts';

const FFMPEG = process.env['FFMPEG_PATH'] ?? 'ffmpeg';
const run = promisify(execFile);
export const CLIP_SECONDS = 10;

/** Moving picture with noise, so that the encoder really spends its bits, and sound as `audio` says. */
export async function makeBenchClip(
  file: string,
  picture: { width: number; height: number; framesPerSecond: number; bitrateKbps: number },
  audio: readonly string[],
): Promise<void> {
  await run(FFMPEG, [
    ...['-v', 'error', '-y'],
    ...['-f', 'lavfi', '-i', `${flashBeepVideo({ ...picture, background: 'motion' })},noise=alls=6:allf=t`],
    ...['-f', 'lavfi', '-i', flashBeepAudio({ sampleRateHz: 48_000, channels: 2 })],
    ...['-t', String(CLIP_SECONDS)],
    ...passthroughH264(picture),
    ...[...audio, file],
  ]);
}
