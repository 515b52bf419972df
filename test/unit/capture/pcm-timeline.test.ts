import { describe, expect, test } from 'vitest';
import { PcmTimeline, type TimedPcm } from '../../../services/egress/capture/pcm-timeline.ts';

const RATE_HZ = 48_000;

function tone(durationMs: number): Uint8Array {
  return new Uint8Array(durationMs * 48 * 4).fill(1);
}

function describeChunks(chunks: readonly TimedPcm[]): string[] {
  return chunks.map(({ ptsUs, data }) => {
    const kind = data.every((byte) => byte === 0) ? 'silence' : 'tone';
    return `${kind} ${ptsUs / 1000}+${data.byteLength / 192}`;
  });
}

describe('PcmTimeline', () => {
  test('starts at 0: what came before is cut, what is missing is silence', () => {
    const early = new PcmTimeline(RATE_HZ);
    expect(early.add(-20_000, tone(10))).toEqual([]);
    expect(describeChunks(early.add(-4_000, tone(10)))).toEqual(['tone 0+6']);
    const late = new PcmTimeline(RATE_HZ);
    expect(describeChunks(late.add(7_000, tone(10)))).toEqual(['silence 0+7', 'tone 7+10']);
  });

  test('passes jitter on untouched', () => {
    const timeline = new PcmTimeline(RATE_HZ);
    timeline.add(0, tone(10));
    expect(describeChunks(timeline.add(10_200, tone(10)))).toEqual(['tone 10.2+10']);
    expect(describeChunks(timeline.add(19_900, tone(10)))).toEqual(['tone 19.9+10']);
  });

  test('a page without sound gets silence that stays behind the present', () => {
    const timeline = new PcmTimeline(RATE_HZ);
    expect(timeline.fill(500_000)).toEqual([]);
    expect(describeChunks(timeline.fill(700_000))).toEqual(['silence 0+300']);
    expect(timeline.fill(800_000)).toEqual([]);
    expect(describeChunks(timeline.fill(1_000_000))).toEqual(['silence 300+300']);
    expect(describeChunks(timeline.add(900_000, tone(10)))).toEqual(['tone 900+10']);
  });

  test('the end is filled up to the last picture, never cut', () => {
    const timeline = new PcmTimeline(RATE_HZ);
    timeline.add(0, tone(100));
    expect(describeChunks(timeline.fillUntil(150_000))).toEqual(['silence 100+50']);
    expect(timeline.fillUntil(120_000)).toEqual([]);
  });
});
