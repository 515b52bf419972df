import { expect, test } from 'vitest';
import { EncoderClock } from '../../../services/ingress/publish/encoder-clock.ts';
import { LiveEdge } from '../../../services/ingress/publish/live-edge.ts';

const FRAME_MS = 40;
const GOP_FRAMES = 50;

type Published = { frame: number; key: boolean; timeMs: number; arrivalMs: number };

/** An encoder of 25 frames a second; `delayMs` says how long its frame at that time is under way. */
function run(options: { seconds: number; delayMs: (sentMs: number) => number; maxLatencyMs?: number }): {
  video: Published[];
  audio: Published[];
  skips: boolean[];
} {
  const clock = new EncoderClock();
  const skips: boolean[] = [];
  const edge = new LiveEdge({
    maxLatencyMs: options.maxLatencyMs ?? 1_000,
    onShift: (shiftUs) => {
      clock.shift(shiftUs);
    },
    onSkip: (skipping) => skips.push(skipping),
  });
  const video: Published[] = [];
  const audio: Published[] = [];
  for (let frame = 0; frame * FRAME_MS < options.seconds * 1_000; frame += 1) {
    const sentMs = frame * FRAME_MS;
    const arrivalMs = sentMs + options.delayMs(sentMs);
    const key = frame % GOP_FRAMES === 0;
    const publish = (to: Published[], timeUs: number | undefined): void => {
      if (timeUs !== undefined) {
        to.push({ frame, key, timeMs: timeUs / 1_000, arrivalMs });
      }
    };
    publish(video, edge.video(clock.toSessionUs('video', sentMs, arrivalMs * 1_000), arrivalMs * 1_000, key));
    publish(audio, edge.audio(clock.toSessionUs('audio', sentMs, arrivalMs * 1_000), arrivalMs * 1_000));
  }
  return { video, audio, skips };
}

function latencies(published: readonly Published[]): number[] {
  return published.map(({ timeMs, arrivalMs }) => arrivalMs - timeMs);
}

function expectRising(published: readonly Published[]): void {
  const times = published.map(({ timeMs }) => timeMs);
  expect(times).toEqual([...times].sort((a, b) => a - b));
}

test('everything passes while the encoder keeps up', () => {
  const { video, audio, skips } = run({ seconds: 20, delayMs: (ms) => (ms * 7) % 900 });
  expect(video).toHaveLength(500);
  expect(audio).toHaveLength(500);
  expect(skips).toEqual([]);
});

test('what piled up in a stall is skipped up to the first key frame in time; sound goes on with it', () => {
  // Nothing arrives between 4 and 9 s, then all of it at once.
  const { video, audio, skips } = run({
    seconds: 20,
    delayMs: (ms) => (ms >= 4_000 && ms < 9_000 ? 9_000 - ms : 0),
  });
  expect(Math.max(...latencies(video), ...latencies(audio))).toBeLessThanOrEqual(1_000);
  const next = video.find(({ arrivalMs }) => arrivalMs >= 9_000);
  expect(next?.key).toBe(true);
  expect(next?.arrivalMs).toBeLessThanOrEqual(9_000 + GOP_FRAMES * FRAME_MS);
  expect(audio.find(({ arrivalMs }) => arrivalMs >= 9_000)?.frame).toBe(next?.frame);
  expect(video.at(-1)?.timeMs).toBe(video.at(-1)?.arrivalMs);
  expect(skips).toEqual([true, false]);
});

test.each([
  ['never catches up', () => 5_000],
  ['catches up slowly', (ms: number) => Math.max(0, 5_000 - (ms - 4_000) * 0.3)],
])('an encoder that %s is live again within 5 s', (_what, late) => {
  const { video, audio } = run({ seconds: 40, delayMs: (ms) => (ms < 4_000 ? 0 : late(ms)) });
  expect(Math.max(...latencies(video), ...latencies(audio))).toBeLessThanOrEqual(1_000);
  const next = video.find(({ arrivalMs }) => arrivalMs >= 9_000);
  expect(next?.key).toBe(true);
  expect(next?.arrivalMs).toBeLessThanOrEqual(9_000 + 5_000 + GOP_FRAMES * FRAME_MS);
  expectRising(video);
  expectRising(audio);
});

test('a slow clock never adds up: the time is taken anew when the limit is reached', () => {
  const { video } = run({ seconds: 3_600, delayMs: (ms) => ms * 0.001 });
  expect(Math.max(...latencies(video))).toBeLessThanOrEqual(1_000);
  expect(video.length).toBeGreaterThan(3_500 * 25);
});

test('without a picture sound is kept live by itself', () => {
  const shifts: number[] = [];
  const edge = new LiveEdge({
    maxLatencyMs: 1_000,
    onShift: (shiftUs) => shifts.push(shiftUs),
    onSkip: () => undefined,
  });
  expect(edge.audio(0, 0)).toBe(0);
  expect(edge.audio(20_000, 5_000_000)).toBeUndefined();
  expect(edge.audio(4_500_000, 5_000_000)).toBe(4_500_000);
  expect(shifts).toEqual([]);
});
