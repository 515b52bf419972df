import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { flashBeepInputs, passthroughH264 } from '../../../fixtures/flash-beep.ts';
import { analyzeFlashBeep } from '../../support/flash-beep.ts';

const run = promisify(execFile);
const picture = { width: 640, height: 360, framesPerSecond: 30 } as const;

/** The measuring tool itself is measured: a known offset must come out, and damage must show. */
describe('flash/beep analysis', () => {
  let dir: string;
  const make = async (name: string, extra: string[]): Promise<string> => {
    const file = path.join(dir, name);
    await run('ffmpeg', [
      ...['-v', 'error', '-y', ...flashBeepInputs({ ...picture, realTime: false }), '-t', '6'],
      ...extra,
      ...passthroughH264({ framesPerSecond: 30, bitrateKbps: 1500 }),
      ...['-c:a', 'aac', file],
    ]);
    return file;
  };
  beforeAll(async () => {
    dir = await mkdtemp(path.join(os.tmpdir(), 'sluice-flash-'));
  });
  afterAll(() => rm(dir, { recursive: true, force: true }));

  it('finds every frame, flash and beep of an undamaged file at offset zero', async () => {
    const report = await analyzeFlashBeep(await make('whole.mp4', []));
    expect(report.frames).toBe(180);
    expect(report.uniqueFps).toBeGreaterThan(29.9);
    expect(report).toMatchObject({ reordered: 0, skipped: 0, singleStepRatio: 1 });
    expect(report.flashesS).toHaveLength(5);
    expect(report.beepsS).toHaveLength(5);
    expect(Math.abs(report.medianOffsetMs)).toBeLessThan(12);
  });

  it('measures a sound delayed by 150 ms', async () => {
    const report = await analyzeFlashBeep(await make('late.mp4', ['-af', 'adelay=150|150']));
    expect(report.medianOffsetMs).toBeGreaterThan(138);
    expect(report.medianOffsetMs).toBeLessThan(162);
  });

  it('sees frames that were dropped and repeated', async () => {
    const report = await analyzeFlashBeep(await make('halved.mp4', ['-vf', 'fps=15,fps=30']));
    expect(report.uniqueFps).toBeLessThan(16);
    expect(report.skipped).toBeGreaterThan(70);
    expect(report.singleStepRatio).toBeLessThan(0.05);
  });

  it('fails a black and silent recording', async () => {
    const report = await analyzeFlashBeep(
      await make('black.mp4', ['-vf', 'drawbox=color=black:t=fill', '-af', 'volume=0']),
    );
    expect(report.flashesS).toHaveLength(0);
    expect(report.beepsS).toHaveLength(0);
    expect(report.uniqueFps).toBe(0);
    expect(report.medianOffsetMs).toBeNaN();
  });
});
