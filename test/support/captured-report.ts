import { expect } from 'vitest';
import type { FlashBeepReport } from './flash-beep.ts';

const MAX_SKEW_MS = 60;
/** A machine without time costs pictures, and makes browsers play sound late for some seconds. */
const BUSY = { minFps: 8, minFlashRatio: 0.6, minBeepRatio: 0.8, maxSkewMs: 300 };
/** Of 30. As many say that there was time after all. */
const FULL_FPS = 26;

export type CapturedLimits = {
  recordedS: number;
  /** How machine-load judged the time of the recording. */
  wasBusy: boolean;
  /** Of a machine that has the time; with other jobs beside it a recording loses a little. */
  minFps?: number;
  minRatio?: number;
};

/** What holds for the 30 pictures per second that a browser shows, captured in real time. */
export function expectCaptured(report: FlashBeepReport, limits: CapturedLimits): void {
  const { recordedS, wasBusy, minFps = 28, minRatio = 0.95 } = limits;
  const free = { minFps, minFlashRatio: minRatio, minBeepRatio: minRatio, maxSkewMs: MAX_SKEW_MS };
  const least = wasBusy ? BUSY : free;
  const measured = JSON.stringify({ ...report, wasBusy });
  expect(report.durationS, measured).toBeGreaterThan(recordedS - (wasBusy ? 3 : 2));
  expect(report.uniqueFps, measured).toBeGreaterThanOrEqual(least.minFps);
  expect(report.flashRatio, measured).toBeGreaterThanOrEqual(least.minFlashRatio);
  expect(report.beepRatio, measured).toBeGreaterThanOrEqual(least.minBeepRatio);
  const maxSkewMs = report.uniqueFps >= FULL_FPS ? MAX_SKEW_MS : least.maxSkewMs;
  expect(Math.abs(report.medianOffsetMs), measured).toBeLessThanOrEqual(maxSkewMs);
}
