import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { flashBeepInputs, passthroughH264 } from '../../fixtures/flash-beep.ts';
import { RoomInternal } from '../../services/bus/rpc-methods.ts';
import { ffmpeg } from '../support/ffmpeg-encoder.ts';
import { ENDPOINT_BUFFERING, ENDPOINT_INACTIVE, ENDPOINT_PUBLISHING } from '../support/ingress-harness.ts';
import { watchMachine } from '../support/machine-load.ts';
import { disposeRtcNode, type RtcNodeViewer, type SeenFrame } from '../support/rtc-node-viewer.ts';
import { startRtmpStage, type RtmpStage } from '../support/rtmp-stage.ts';

const RATE = 30;
const MAX_LATENCY_MS = 1_000;
/** Players shift their own delay after a gap, on busy machines more; far below the 4 s of the stall. */
const TOLERANCE_MS = 300;
const BUSY_TOLERANCE_MS = 1_000;

let dir: string;
let stage: RtmpStage;
let viewer: RtcNodeViewer;

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'sluice-stall-'));
  await ffmpeg([
    ...flashBeepInputs({ width: 640, height: 360, framesPerSecond: RATE, realTime: false }),
    ...['-t', '60', ...passthroughH264({ framesPerSecond: RATE, bitrateKbps: 1_000 })],
    ...['-c:a', 'aac', '-b:a', '128k', path.join(dir, 'a-minute.flv')],
  ]);
}, 240_000);

afterEach(async () => {
  await stage.close();
});

afterAll(async () => {
  await disposeRtcNode();
  await rm(dir, { recursive: true, force: true });
});

async function start(reconnectWindowMs: number): Promise<void> {
  stage = await startRtmpStage({ policy: { reconnectWindowMs, maxLatencyMs: MAX_LATENCY_MS } });
  viewer = await stage.viewer();
}

function latest(): SeenFrame {
  return viewer.frames.at(-1) ?? { atMs: 0, width: 0, height: 0, barcode: -1, flash: false };
}

/** When frame 0 would have been seen: the same for all frames as long as the delay stays. */
function medianStartMs(frames: readonly SeenFrame[]): number {
  const starts = frames.map(({ atMs, barcode }) => atMs - (barcode * 1_000) / RATE).sort((a, b) => a - b);
  return starts[Math.floor(starts.length / 2)] ?? NaN;
}

test('after a stalled encoder has gone on, what is seen is live again, by the time code in the picture', async () => {
  await start(0);
  const encoder = stage.push(path.join(dir, 'a-minute.flv'));
  await viewer.until(() => latest().barcode >= 4 * RATE);
  const load = watchMachine();
  const before = medianStartMs(viewer.frames.slice(-2 * RATE));
  const beepsBefore = viewer.sound.filter(({ beep }) => beep).length;
  expect(beepsBefore).toBeGreaterThan(0);
  encoder.kill('SIGSTOP');
  const { barcode } = latest();
  const stoppedMs = performance.now();
  // Sound ends at once, so its frames tell the time without waiting for it.
  await viewer.until(() => performance.now() - stoppedMs > 4_000);
  encoder.kill('SIGCONT');
  const goesOnAt = barcode + (4 + 5) * RATE;
  await viewer.until(() => latest().barcode >= goesOnAt + 2 * RATE);
  const after = medianStartMs(viewer.frames.filter((frame) => frame.barcode >= goesOnAt));
  const toleranceMs = load() ? BUSY_TOLERANCE_MS : TOLERANCE_MS;
  expect(after - before).toBeLessThanOrEqual(MAX_LATENCY_MS + toleranceMs);
  const heard = viewer.sound.slice(-3 * 100).filter(({ beep }) => beep);
  expect(heard.length).toBeGreaterThan(0);
});

test('an encoder that is killed and comes back within the window finds its participant and tracks', async () => {
  await start(20_000);
  const first = stage.push(path.join(dir, 'a-minute.flv'));
  await viewer.until(() => latest().barcode >= RATE && viewer.sound.some(({ beep }) => beep));
  const before = await publisher();
  expect(before.tracks).toHaveLength(2);
  first.kill('SIGKILL');
  await expect.poll(() => stage.harness.states.at(-1)?.status, { timeout: 15_000 }).toBe(ENDPOINT_BUFFERING);
  expect(await publisher()).toEqual(before);
  const seen = viewer.frames.length;
  const heard = viewer.sound.length;
  stage.push(path.join(dir, 'a-minute.flv'));
  await viewer.until(
    () =>
      new Set(viewer.frames.slice(seen).map(({ barcode }) => barcode)).size > 2 * RATE &&
      viewer.sound.slice(heard).some(({ beep }) => beep),
  );
  expect(await publisher()).toEqual(before);
  await expect.poll(() => stage.harness.states.at(-1)?.status, { timeout: 15_000 }).toBe(ENDPOINT_PUBLISHING);
  expect(stage.harness.states.some(({ status }) => status === ENDPOINT_INACTIVE)).toBe(false);
});

async function publisher(): Promise<{ sid: string; tracks: string[] }> {
  const { participants } = await stage.sfu.bus.request(RoomInternal.listParticipants, { room: 'studio' });
  const obs = participants.find(({ identity }) => identity === 'obs');
  return { sid: obs?.sid ?? '', tracks: obs?.tracks.map(({ sid }) => sid).sort() ?? [] };
}
