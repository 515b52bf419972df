import { spawn } from 'node:child_process';
import { BARCODE, FLASH } from '../../fixtures/flash-beep.ts';

const GRAY_WIDTH = 320;
const GRAY_HEIGHT = 180;
const AUDIO_RATE_HZ = 16_000;
const AUDIO_WINDOW = 40; // 2.5 ms

export type FlashBeepReport = {
  durationS: number;
  frames: number;
  /** Distinct bar codes divided by the seconds between the first and last frame. */
  uniqueFps: number;
  /** Bar code steps that went backwards (a wrap of the counter does not count). */
  reordered: number;
  /** Counter values missing between neighbours, for captures that should keep every frame. */
  skipped: number;
  /** Share of neighbours that are one bar code apart: 0 for half the rate, however busy the machine is. */
  singleStepRatio: number;
  flashesS: number[];
  beepsS: number[];
  /** Flashes and beeps found, divided by the whole seconds the recording spans. */
  flashRatio: number;
  beepRatio: number;
  /** beep − flash of each pair; negative = picture late. */
  offsetsMs: number[];
  medianOffsetMs: number;
  /** Median of the last three offsets less that of the first three: one late picture is no drift. */
  driftMs: number;
};

/** Runs a program, collecting stdout as bytes. @throws Error with stderr's tail when it fails. */
async function collect(command: string, args: string[]): Promise<Buffer> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const chunks: Buffer[] = [];
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => (stderr = (stderr + chunk.toString()).slice(-2000)));
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', resolve);
  });
  if (code !== 0) {
    throw new Error(`${command} ended with ${String(code)}: ${stderr}`);
  }
  return Buffer.concat(chunks);
}

/** Presentation times of all decoded frames, in display order. */
async function frameTimesS(file: string): Promise<number[]> {
  const text = await collect('ffprobe', [
    ...['-v', 'error', '-select_streams', 'v:0', '-show_entries', 'frame=best_effort_timestamp_time'],
    ...['-of', 'csv=p=0', file],
  ]);
  return text
    .toString()
    .split('\n')
    .map((line) => Number.parseFloat(line))
    .filter((time) => Number.isFinite(time));
}

/** Mean luma of an area given in fractions of the picture. */
function meanLuma(frame: Buffer, area: { left: number; right: number; top: number; bottom: number }): number {
  let sum = 0;
  let count = 0;
  for (let y = Math.floor(area.top * GRAY_HEIGHT); y < area.bottom * GRAY_HEIGHT; y++) {
    for (let x = Math.floor(area.left * GRAY_WIDTH); x < area.right * GRAY_WIDTH; x++) {
      sum += frame[y * GRAY_WIDTH + x] ?? 0;
      count++;
    }
  }
  return sum / count;
}

/** The bar code's value; cells are sampled in their middle, so small scaling and borders do no harm. */
export function readBarcode(frame: Buffer): number {
  const cell = (BARCODE.right - BARCODE.left) / BARCODE.bits;
  const middle = (BARCODE.top + BARCODE.bottom) / 2;
  let value = 0;
  for (let index = 0; index < BARCODE.bits; index++) {
    const center = BARCODE.left + (index + 0.5) * cell;
    const luma = meanLuma(frame, {
      left: center - cell * 0.2,
      right: center + cell * 0.2,
      top: middle - 0.02,
      bottom: middle + 0.02,
    });
    value = value * 2 + (luma > 128 ? 1 : 0);
  }
  return value;
}

/** Times where a series crosses the threshold upwards; `quiet` values must lie between two onsets. */
function onsets(values: { timeS: number; level: number }[], threshold: number, minGapS: number): number[] {
  const found: number[] = [];
  let high = true; // a recording may start inside a flash: that one has no onset
  let lastS = Number.NEGATIVE_INFINITY;
  for (const { timeS, level } of values) {
    if (level > threshold && !high && timeS - lastS > minGapS) {
      found.push(timeS);
      lastS = timeS;
    }
    high = level > threshold;
  }
  return found;
}

/** Decodes a recording of the flash/beep picture and measures it. Needs ffmpeg and ffprobe on the PATH. */
export async function analyzeFlashBeep(file: string): Promise<FlashBeepReport> {
  const [gray, timesS, pcm] = await Promise.all([
    collect('ffmpeg', [
      ...['-v', 'error', '-i', file, '-map', '0:v:0', '-vsync', 'passthrough'],
      ...['-vf', `scale=${GRAY_WIDTH}:${GRAY_HEIGHT}:flags=area,format=gray`, '-f', 'rawvideo', '-'],
    ]),
    frameTimesS(file),
    collect('ffmpeg', [
      ...['-v', 'error', '-i', file, '-map', '0:a:0', '-af', 'aresample=async=1:first_pts=0'],
      ...['-ac', '1', '-ar', String(AUDIO_RATE_HZ), '-f', 's16le', '-'],
    ]),
  ]);
  const frameSize = GRAY_WIDTH * GRAY_HEIGHT;
  const frames = Math.min(timesS.length, Math.floor(gray.length / frameSize));
  const codes: number[] = [];
  const luma: { timeS: number; level: number }[] = [];
  for (let index = 0; index < frames; index++) {
    const frame = gray.subarray(index * frameSize, (index + 1) * frameSize);
    codes.push(readBarcode(frame));
    luma.push({ timeS: timesS[index] ?? 0, level: meanLuma(frame, { ...FLASH }) });
  }
  const loudness: { timeS: number; level: number }[] = [];
  for (let start = 0; start + AUDIO_WINDOW * 2 <= pcm.length; start += AUDIO_WINDOW * 2) {
    let peak = 0;
    for (let at = start; at < start + AUDIO_WINDOW * 2; at += 2) {
      peak = Math.max(peak, Math.abs(pcm.readInt16LE(at)));
    }
    loudness.push({ timeS: start / 2 / AUDIO_RATE_HZ, level: peak / 32768 });
  }
  const flashesS = onsets(luma, 128, 0.5);
  const beepsS = onsets(smooth(loudness), 0.08, 0.5);
  const firstS = timesS[0] ?? 0;
  const durationS = (timesS[frames - 1] ?? 0) - firstS;
  const audioS = loudness.length === 0 ? 0 : (loudness.at(-1)?.timeS ?? 0);
  const offsetsMs = flashesS.flatMap((flash) => {
    const nearest = beepsS.reduce<number | undefined>(
      (best, beep) => (best === undefined || Math.abs(beep - flash) < Math.abs(best - flash) ? beep : best),
      undefined,
    );
    return nearest === undefined || Math.abs(nearest - flash) > 0.45 ? [] : [(nearest - flash) * 1000];
  });
  return {
    durationS,
    frames,
    uniqueFps: durationS > 0 ? countChanges(codes) / durationS : 0,
    ...continuity(codes),
    flashesS,
    beepsS,
    flashRatio: flashesS.length / Math.max(1, Math.floor(durationS)),
    beepRatio: beepsS.length / Math.max(1, Math.floor(audioS)),
    offsetsMs,
    medianOffsetMs: median(offsetsMs),
    driftMs: median(offsetsMs.slice(-3)) - median(offsetsMs.slice(0, 3)),
  };
}

function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

/** A beep is a run of loud windows: a peak hold of 20 ms bridges the zero crossings between them. */
function smooth(values: { timeS: number; level: number }[]): { timeS: number; level: number }[] {
  let held = 0;
  let untilS = 0;
  return values.map(({ timeS, level }) => {
    if (level >= held || timeS > untilS) {
      held = level;
      untilS = timeS + 0.02;
    }
    return { timeS, level: held };
  });
}

function countChanges(codes: number[]): number {
  let changes = 0;
  for (let index = 1; index < codes.length; index++) {
    changes += codes[index] === codes[index - 1] ? 0 : 1;
  }
  return changes;
}

function continuity(codes: number[]): { reordered: number; skipped: number; singleStepRatio: number } {
  const modulo = 2 ** BARCODE.bits;
  let reordered = 0;
  let skipped = 0;
  let singleSteps = 0;
  for (let index = 1; index < codes.length; index++) {
    const step = ((codes[index] ?? 0) - (codes[index - 1] ?? 0) + modulo) % modulo;
    if (step > modulo / 2) {
      reordered++;
    } else if (step > 1) {
      skipped += step - 1;
    } else {
      singleSteps += step;
    }
  }
  return { reordered, skipped, singleStepRatio: singleSteps / Math.max(1, codes.length - 1) };
}
