import { expect } from 'vitest';
import type { FlashBeepReport } from './flash-beep.ts';

const MIN_UNIQUE_FPS = 8;
/** Of 30. With less the machine was too busy to tell how well picture and sound are kept together. */
const FULL_FPS = 26;
const MAX_SKEW_MS = 60;
const MAX_BUSY_SKEW_MS = 300;
const MIN_FLASH_RATIO = 0.6;
const MIN_BEEP_RATIO = 0.8;

/**
 * What holds for 30 pictures per second captured from a browser in real time, also on a machine that others use: that
 * costs pictures, and makes browsers play sound late for some seconds. How good it gets on a free machine is what the
 * benches say.
 */
export function expectCaptured(report: FlashBeepReport, recordedS: number): void {
  const measured = JSON.stringify(report);
  expect(report.durationS, measured).toBeGreaterThan(recordedS - 3);
  expect(report.uniqueFps, measured).toBeGreaterThanOrEqual(MIN_UNIQUE_FPS);
  expect(report.flashRatio, measured).toBeGreaterThanOrEqual(MIN_FLASH_RATIO);
  expect(report.beepRatio, measured).toBeGreaterThanOrEqual(MIN_BEEP_RATIO);
  const maxSkewMs = report.uniqueFps < FULL_FPS ? MAX_BUSY_SKEW_MS : MAX_SKEW_MS;
  expect(Math.abs(report.medianOffsetMs), measured).toBeLessThanOrEqual(maxSkewMs);
}
