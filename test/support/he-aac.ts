import { execFile } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';
import { expect } from 'vitest';
import { FLASH_SECONDS, flashBeepVideo, passthroughH264 } from '../../fixtures/flash-beep.ts';
import { ffmpeg } from './ffmpeg-encoder.ts';
import { analyzeFlashBeep } from './flash-beep.ts';
import { readSound } from './recording-content.ts';

/** Fraunhofer's names. `explicit_sbr` stands behind the core's configuration, where old decoders do not look. */
export type HeAacForm = {
  profile: 'aac_he' | 'aac_he_v2';
  signaling: 'explicit_hierarchical' | 'explicit_sbr' | 'implicit';
};

/** The core of 24 kHz ends at 12 kHz: what is above comes from spectral band replication. */
const HIGH_HZ = 15_000;
const ABOVE_CORE_HZ = 13_000;
const RIGHT_SHARE = 0.25;
const run = promisify(execFile);

/** Flashes with beeps of 1 and 15 kHz, louder on the left, H.264 and PCM. */
export async function heAacSource(
  file: string,
  picture: { width: number; height: number; seconds: number },
): Promise<void> {
  const { seconds, ...size } = picture;
  const tones = `(0.35*sin(2*PI*1000*t)+0.2*sin(2*PI*${HIGH_HZ}*t))`;
  const beep = `if(lt(mod(t\\,1)\\,${FLASH_SECONDS})\\,${tones}\\,0)`;
  await ffmpeg([
    ...['-f', 'lavfi', '-i', flashBeepVideo({ ...size, framesPerSecond: 30 })],
    ...['-f', 'lavfi', '-i', `aevalsrc=exprs=${beep}|${RIGHT_SHARE}*${beep}:s=48000`, '-t', String(seconds)],
    ...[...passthroughH264({ framesPerSecond: 30, bitrateKbps: 300 }), '-c:a', 'pcm_s16le', file],
  ]);
}

/** @param source Matroska. @param out FLV. */
export async function encodeHeAac(source: string, out: string, form: HeAacForm): Promise<void> {
  const program = path.resolve('test/support/he-aac-film.mjs');
  await run(process.execPath, [program, source, out, form.profile, form.signaling]);
}

/** What the decoded sound has only where the whole of HE-AAC was decoded. @param file with beeps of `heAacSource`. */
export async function expectHeAac(file: string): Promise<void> {
  const { beepsS } = await analyzeFlashBeep(file);
  const { left, right, high } = await loudness(file, beepsS);
  // The core alone gives 0.001 above 13 kHz.
  expect(high).toBeGreaterThan(0.02);
  expect(left).toBeGreaterThan(0.15);
  // Version 2 has a mono core.
  expect(left / right).toBeGreaterThan(2.5);
}

/** Root mean squares while it beeps: of all there is, and of what lies above the core. */
async function loudness(
  file: string,
  beepsS: readonly number[],
): Promise<{ left: number; right: number; high: number }> {
  const filtered = `${file}.high.wav`;
  const highpass = Array.from({ length: 4 }, () => `highpass=f=${ABOVE_CORE_HZ}`).join(',');
  await ffmpeg(['-i', file, '-map', '0:a:0', '-af', `aresample=async=1:first_pts=0,${highpass}`, filtered]);
  const [sound, high] = [await readSound(file), await readSound(filtered)];
  const mean = (level: (fromS: number, toS: number) => number): number =>
    beepsS.reduce((sum, atS) => sum + level(atS + 0.02, atS + FLASH_SECONDS - 0.02), 0) /
    Math.max(1, beepsS.length);
  return {
    left: mean((fromS, toS) => sound.level('left', fromS, toS)),
    right: mean((fromS, toS) => sound.level('right', fromS, toS)),
    high: mean((fromS, toS) => high.level('left', fromS, toS)),
  };
}
