import { describe, expect, it, vi } from 'vitest';
import { MIX_RATE_HZ, MixBuffer, softClip } from '../../../services/media/audio/mix-buffer.ts';
import { MixLane, type MixChannel } from '../../../services/media/audio/mix-lane.ts';
import { SeededRandom } from '../../support/seeded-random.ts';

// Work for the CPU, which others may have.
vi.setConfig({ testTimeout: 120_000 });

const FRAME = 960;
const FRAME_US = 20_000;

function tone(frequencyHz: number, level: number, fromSample: number, samples = FRAME): Float32Array {
  return Float32Array.from(
    { length: samples },
    (_, index) => level * Math.sin((2 * Math.PI * frequencyHz * (fromSample + index)) / MIX_RATE_HZ),
  );
}

function constant(level: number, samples = FRAME): Float32Array {
  return new Float32Array(samples).fill(level);
}

/** Both channels as numbers around ±1. */
function read(buffer: MixBuffer, samples: number): { left: number[]; right: number[] } {
  const pcm = buffer.read(samples);
  const channel = (offset: number): number[] =>
    Array.from({ length: samples }, (_, index) => pcm.readInt16LE(index * 4 + offset) / 32_767);
  return { left: channel(0), right: channel(2) };
}

function peak(pcm: readonly number[]): number {
  return pcm.reduce((best, value) => Math.max(best, Math.abs(value)), 0);
}

function steps(pcm: readonly number[]): number[] {
  return pcm.slice(1).map((value, index) => value - (pcm[index] ?? 0));
}

function energy(pcm: readonly number[]): number {
  return pcm.reduce((sum, value) => sum + value * value, 0) / pcm.length;
}

/** Share of one frequency in a signal (Goertzel), as its amplitude. */
function amplitude(pcm: readonly number[], frequencyHz: number): number {
  let [re, im] = [0, 0];
  pcm.forEach((value, index) => {
    const angle = (2 * Math.PI * frequencyHz * index) / MIX_RATE_HZ;
    re += value * Math.cos(angle);
    im += value * Math.sin(angle);
  });
  return (2 * Math.hypot(re, im)) / pcm.length;
}

describe('MixBuffer', () => {
  it('sums what is added at a position and hands it out once', () => {
    const buffer = new MixBuffer();
    buffer.add(10, constant(0.25, 5), constant(0.5, 5));
    buffer.add(12, constant(0.25, 5), constant(-0.25, 5));
    const { left, right } = read(buffer, 20);
    expect(left.map((value) => Math.round(value * 4))).toEqual([
      ...[0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
      ...[1, 1, 2, 2, 2, 1, 1, 0, 0, 0],
    ]);
    expect(right.slice(10, 17).map((value) => Math.round(value * 4))).toEqual([2, 2, 1, 1, 1, -1, -1]);
    expect(buffer.position).toBe(20);
    // A whole turn of the ring later nothing of it is left.
    for (let turn = 0; turn < 20; turn += 1) {
      expect(energy(read(buffer, 16_384).left)).toBe(0);
    }
  });

  it('drops and counts what comes too late or lies too far ahead', () => {
    const buffer = new MixBuffer();
    buffer.read(1000);
    buffer.add(0, constant(1), constant(1));
    expect(buffer.droppedSamples).toBe(960);
    buffer.add(900, constant(0.5, 200), constant(0.5, 200));
    expect(buffer.droppedSamples).toBe(1060);
    buffer.add(10_000_000, constant(1), constant(1));
    expect(buffer.droppedSamples).toBe(2020);
    expect(read(buffer, 100).left.every((value) => Math.abs(value - 0.5) < 0.001)).toBe(true);
    expect(energy(read(buffer, 300_000).left)).toBe(0);
  });

  it('bends sums above the knee and never reaches beyond full scale', () => {
    expect(softClip(0.5)).toBe(0.5);
    expect(softClip(-0.8)).toBe(-0.8);
    let last = -2;
    for (let value = -6; value <= 6; value += 0.01) {
      const clipped = softClip(value);
      expect(Math.abs(clipped)).toBeLessThanOrEqual(1);
      expect(clipped).toBeGreaterThanOrEqual(last);
      expect(clipped).toBeCloseTo(-softClip(-value), 12);
      last = clipped;
    }
    const buffer = new MixBuffer();
    for (let voice = 0; voice < 8; voice += 1) {
      buffer.add(0, tone(440, 0.9, 0), tone(440, 0.9, 0));
    }
    const { left } = read(buffer, FRAME);
    expect(peak(left)).toBeGreaterThan(0.95);
    expect(peak(left)).toBeLessThanOrEqual(1);
  });

  it('equals a plain sum for any order and any cut of the additions (random cases)', () => {
    const random = new SeededRandom(7);
    for (let round = 0; round < 20; round += 1) {
      const expected = new Float32Array(5000);
      const additions = Array.from({ length: 30 }, () => {
        const at = random.int(4000);
        const pcm = Float32Array.from({ length: 1 + random.int(1000) }, () => (random.next() - 0.5) * 0.02);
        pcm.forEach((value, index) => {
          expected[at + index] = (expected[at + index] ?? 0) + value;
        });
        return { at, pcm };
      });
      const buffer = new MixBuffer();
      for (const { at, pcm } of additions) {
        const cut = random.int(pcm.length);
        buffer.add(at + cut, pcm.subarray(cut), pcm.subarray(cut));
        buffer.add(at, pcm.subarray(0, cut), pcm.subarray(0, cut));
      }
      const left: number[] = [];
      while (left.length < 5000) {
        left.push(...read(buffer, Math.min(1 + random.int(700), 5000 - left.length)).left);
      }
      const worst = Math.max(...left.map((value, index) => Math.abs(value - (expected[index] ?? 0))));
      expect(worst).toBeLessThan(1 / 16_000);
    }
  });
});

describe('MixLane', () => {
  function play(
    lane: MixLane,
    frames: number,
    options: { startUs?: number; ppm?: number; level?: number; jitterUs?: () => number } = {},
  ): void {
    const { startUs = 0, ppm = 0, level = 0.5, jitterUs = () => 0 } = options;
    for (let index = 0; index < frames; index += 1) {
      const pcm = tone(1000, level, index * FRAME);
      const ptsUs = startUs + Math.round(index * FRAME_US * (1 + ppm / 1e6)) + jitterUs();
      lane.place(ptsUs, pcm, pcm.slice());
    }
    lane.finish();
  }

  it.each<{ channel: MixChannel; left: number; right: number }>([
    { channel: 'both', left: 0.125, right: 0.125 },
    { channel: 'left', left: 0.125, right: 0 },
    { channel: 'right', left: 0, right: 0.125 },
  ])('puts a voice on $channel', ({ channel, left, right }) => {
    const buffer = new MixBuffer();
    play(new MixLane(buffer, channel), 50);
    const pcm = read(buffer, 48_000);
    expect(energy(pcm.left)).toBeCloseTo(left, 2);
    expect(energy(pcm.right)).toBeCloseTo(right, 2);
  });

  it('mixes a stereo track down when it has one channel to sound on', () => {
    const buffer = new MixBuffer();
    const lane = new MixLane(buffer, 'right');
    lane.place(0, constant(0.6), constant(0.2));
    lane.finish();
    const { left, right } = read(buffer, 800);
    expect(energy(left)).toBe(0);
    expect(right[500]).toBeCloseTo(0.4, 3);
  });

  it('starts a late voice at its time', () => {
    const buffer = new MixBuffer();
    play(new MixLane(buffer, 'both'), 10, { startUs: 500_000 });
    const { left } = read(buffer, 48_000);
    expect(energy(left.slice(0, 24_000))).toBe(0);
    expect(energy(left.slice(24_000, 33_600))).toBeGreaterThan(0.1);
    expect(energy(left.slice(33_600))).toBe(0);
  });

  it('leaves lost packets silent with soft edges and goes on at the right time', () => {
    const buffer = new MixBuffer();
    const lane = new MixLane(buffer, 'both');
    for (const index of [0, 1, 2, 5, 6]) {
      lane.place(index * FRAME_US, constant(0.5), constant(0.5));
    }
    lane.finish();
    const { left } = read(buffer, 8 * FRAME);
    expect(energy(left.slice(3 * FRAME, 5 * FRAME))).toBe(0);
    expect(left[2 * FRAME]).toBeCloseTo(0.5, 3);
    expect(left[5 * FRAME + 200]).toBeCloseTo(0.5, 3);
    expect(peak(steps(left))).toBeLessThan(0.01);
  });

  it('follows a clock that drifts, without a gap and without leaving the pitch', () => {
    for (const ppm of [-300, 300, 2000]) {
      const buffer = new MixBuffer();
      const lane = new MixLane(buffer, 'both');
      let last = 0;
      for (let index = 0; index < 3000; index += 1) {
        const pcm = tone(1000, 0.5, index * FRAME);
        lane.place(Math.round(index * FRAME_US * (1 + ppm / 1e6)), pcm, pcm.slice());
        if (index % 50 === 49 && index > 100) {
          const { left } = read(buffer, Math.floor(lane.end) - 2 * FRAME - buffer.position);
          // A 1 kHz tone of 0.5 changes by 0.0655 per sample at most; a click would change by more.
          expect(peak(steps([last, ...left])), `${String(ppm)} ppm`).toBeLessThan(0.09);
          expect(amplitude(left.slice(0, 4_800), 1000)).toBeGreaterThan(0.45);
          last = left.at(-1) ?? 0;
        }
      }
      const trueEnd = 3000 * FRAME * (1 + ppm / 1e6);
      expect(Math.abs(lane.end - trueEnd), `${String(ppm)} ppm`).toBeLessThan(0.005 * MIX_RATE_HZ);
    }
  });

  it('catches up with a clock that is set right after the start', () => {
    for (const shiftUs of [-150_000, 150_000]) {
      const buffer = new MixBuffer();
      const lane = new MixLane(buffer, 'both');
      for (let index = 0; index < 200; index += 1) {
        // The first second is placed by arrival; then sender reports move it by at most a tenth of its length.
        const movedUs =
          Math.sign(shiftUs) * Math.min(Math.abs(shiftUs), Math.max(0, index - 50) * FRAME_US * 0.1);
        const pcm = tone(1000, 0.5, index * FRAME);
        lane.place(500_000 + index * FRAME_US + movedUs, pcm, pcm.slice());
      }
      const trueEnd = ((500_000 + 200 * FRAME_US + shiftUs) * MIX_RATE_HZ) / 1e6;
      expect(Math.abs(lane.end - trueEnd)).toBeLessThan(0.045 * MIX_RATE_HZ);
    }
  });

  it('puts the first second where its end says, in one piece, in time to be mixed', () => {
    const buffer = new MixBuffer();
    const lane = new MixLane(buffer, 'both');
    // A burst makes the first packets seem 100 ms late; a tenth of the time passed is corrected per packet.
    for (let index = 0; index < 60; index += 1) {
      const pcm = tone(1000, 0.5, index * FRAME);
      lane.place(500_000 + index * FRAME_US - Math.min(100_000, index * 2_000), pcm, pcm.slice());
      lane.release(0);
    }
    lane.finish();
    const { left } = read(buffer, 96_000);
    const start = left.findIndex((value) => Math.abs(value) > 0.01);
    expect(Math.abs(start - 0.4 * MIX_RATE_HZ)).toBeLessThan(0.003 * MIX_RATE_HZ);
    expect(peak(steps(left))).toBeLessThan(0.09);
    expect(amplitude(left.slice(20_000, 60_000), 1000)).toBeGreaterThan(0.49);

    const short = new MixLane(buffer, 'both');
    short.place(2_500_000, constant(0.5), constant(0.5));
    short.release(2.1 * MIX_RATE_HZ);
    expect(short.end).toBe(0);
    short.release(2.3 * MIX_RATE_HZ);
    expect(short.end).toBe(2.5 * MIX_RATE_HZ + FRAME);
  });

  it('keeps its place whatever the clock does (random cases)', () => {
    const random = new SeededRandom(11);
    for (let round = 0; round < 30; round += 1) {
      const buffer = new MixBuffer();
      const lane = new MixLane(buffer, random.pick<MixChannel>(['both', 'left', 'right']));
      let ptsUs = random.int(100_000);
      for (let index = 0; index < 100; index += 1) {
        const samples = random.pick([120, 480, 960, 1920, 2880]);
        const pcm = constant(0.1, samples);
        lane.place(ptsUs, pcm, pcm.slice());
        lane.release(Number.POSITIVE_INFINITY);
        const durationUs = (samples * 1e6) / MIX_RATE_HZ;
        expect(lane.end - ((ptsUs + durationUs) * MIX_RATE_HZ) / 1e6).toBeGreaterThan(-0.041 * MIX_RATE_HZ);
        expect(lane.end - ((ptsUs + durationUs) * MIX_RATE_HZ) / 1e6).toBeLessThan(
          0.041 * MIX_RATE_HZ + samples,
        );
        ptsUs += Math.round(durationUs * (0.9 + random.next() * 0.2));
        ptsUs += random.chance(0.05) ? random.int(400_000) : 0;
      }
      lane.finish();
      const { left, right } = read(buffer, 240_000);
      // Overlaps would sum to more than one voice.
      expect(Math.max(peak(left), peak(right))).toBeLessThan(0.101);
      expect(Math.max(energy(left), energy(right))).toBeGreaterThan(0.0005);
    }
  });
});
