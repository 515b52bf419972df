import { describe, expect, it } from 'vitest';
import { AudioTimeline } from '../../../services/media/ffmpeg/audio-timeline.ts';

const RATE_HZ = 48_000;
const CHUNK = 960;

describe('audio timeline', () => {
  it.each([1.001, 0.999])('follows a clock that runs at %d without a step', (rate) => {
    const timeline = new AudioTimeline(RATE_HZ, 'fill');
    let lastPtsUs = -20_000;
    for (let i = 0; i < 30_000; i++) {
      const ptsUs = i * 20_000 * rate;
      expect(timeline.advance(ptsUs, CHUNK)).toEqual({ silenceSamples: 0, skipSamples: 0 });
      const heardUs = timeline.ptsAt(i * 20_000);
      expect(Math.abs(heardUs - ptsUs)).toBeLessThan(4_000);
      expect(Math.abs(heardUs - lastPtsUs - 20_000)).toBeLessThan(50);
      lastPtsUs = heardUs;
    }
  });

  it('does not mistake millisecond rounding for holes', () => {
    const timeline = new AudioTimeline(44_100, 'jump');
    for (let i = 0; i < 10_000; i++) {
      const exactUs = (i * 1024 * 1e6) / 44_100;
      timeline.advance(Math.round(exactUs / 1000) * 1000, 1024);
      expect(Math.abs(timeline.ptsAt(exactUs) - exactUs)).toBeLessThan(1_000);
    }
  });

  it('jumps over a hole that is too long for silence', () => {
    const timeline = new AudioTimeline(RATE_HZ, 'fill');
    timeline.advance(0, CHUNK);
    expect(timeline.advance(3_600_000_000, CHUNK).silenceSamples).toBe(0);
    expect(timeline.ptsAt(10_000)).toBe(10_000);
    expect(timeline.ptsAt(20_000)).toBe(3_600_000_000);
  });
});
