import { expect } from 'vitest';
import { countBeeps } from './beeps.ts';
import type { CapabilityJob } from './capability-jobs.ts';
import { ffprobe, streamOf } from './ffprobe.ts';
import { analyzeFlashBeep } from './flash-beep.ts';
import { frameCounters } from './frame-counter.ts';
import { readPicture } from './recording-content.ts';

/** Length of each recording; less is a defect. */
export const RECORD_MS = 5_000;
const MIN_S = RECORD_MS / 1000 - 2;

/**
 * Codecs and content of one file, decoded.
 * @param keyFrameWaitS who comes in between waits so long for the next key frame; the clip has two a second
 */
export async function expectContent(
  job: Pick<CapabilityJob, 'source' | 'stored'>,
  file: string,
  keyFrameWaitS = 0.5,
): Promise<void> {
  const probe = await ffprobe(file);
  const codecs = probe.streams.map(({ codec_name }) => codec_name).sort();
  const isSound = job.source === 'audio_room' || job.stored.includes('ogg');
  if (isSound) {
    expect(codecs).toEqual([job.stored.includes('ogg') ? 'opus' : 'aac']);
    await expectBeeps(file);
  } else if (job.source === 'track') {
    const isWebm = job.stored.includes('webm');
    expect(codecs).toEqual([isWebm ? 'vp8' : 'h264']);
    await (isWebm ? expectPicture(file) : expectCounter(file));
  } else {
    expect(codecs).toEqual(['aac', 'h264']);
    expect(streamOf(probe, 'video')).toMatchObject({ width: 640, height: 360 });
    const report = await analyzeFlashBeep(file);
    const measured = JSON.stringify(report);
    expect(report.durationS, measured).toBeGreaterThan(MIN_S);
    const shownS = report.durationS - keyFrameWaitS;
    // Two Chromes and their encoders on two cores lose a frame now and then.
    expect((report.uniqueFps * report.durationS) / shownS, measured).toBeGreaterThan(24);
    expect(report.flashesS.length, measured).toBeGreaterThanOrEqual(Math.floor(shownS));
    expect(report.beepsS.length, measured).toBeGreaterThanOrEqual(Math.floor(report.durationS) - 1);
    expect(Math.abs(report.medianOffsetMs), measured).toBeLessThanOrEqual(60);
    expect(Math.abs(report.driftMs), measured).toBeLessThanOrEqual(60);
  }
}

async function expectBeeps(file: string): Promise<void> {
  const heard = await countBeeps(file);
  const measured = JSON.stringify(heard);
  expect(heard.durationS, measured).toBeGreaterThan(MIN_S);
  expect(heard.beeps / heard.durationS, measured).toBeGreaterThan(0.6);
  expect(heard.beeps / heard.durationS, measured).toBeLessThan(1.5);
  expect(heard.silence, measured).toBeGreaterThan(0.5);
}

/** An untouched track: every picture of the clip, one after the other. */
async function expectCounter(file: string): Promise<void> {
  const shown = (await frameCounters(file)).map(({ value }) => value);
  expect(shown.length).toBeGreaterThan(MIN_S * 30);
  expect(shown.slice(1).filter((value, index) => value !== (shown[index] ?? 0) + 1 && value !== 0)).toEqual(
    [],
  );
}

async function expectPicture(file: string): Promise<void> {
  const picture = await readPicture(file);
  expect(picture.length).toBeGreaterThan(MIN_S * 10);
  expect(picture.every(({ contrast }) => contrast > 60)).toBe(true);
}
