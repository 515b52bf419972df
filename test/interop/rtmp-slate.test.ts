import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { BARCODE, flashBeepInputs, passthroughH264 } from '../../fixtures/flash-beep.ts';
import { ffmpeg } from '../support/ffmpeg-encoder.ts';
import { ENDPOINT_BUFFERING, ENDPOINT_PUBLISHING } from '../support/ingress-harness.ts';
import { disposeRtcNode, type SeenFrame } from '../support/rtc-node-viewer.ts';
import { startRtmpStage, type RtmpStage } from '../support/rtmp-stage.ts';

/** Every cell of the bar code is white in a white picture; the film never counts that far. */
const WHITE = 2 ** BARCODE.bits - 1;

let dir: string;
let stage: RtmpStage;

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'sluice-slate-'));
  const picture = { width: 320, height: 180, framesPerSecond: 30 };
  await ffmpeg([
    ...[...flashBeepInputs({ ...picture, realTime: false }), '-t', '30'],
    ...passthroughH264({ framesPerSecond: 30, bitrateKbps: 500 }),
    ...['-c:a', 'aac', path.join(dir, 'film.flv')],
  ]);
  const white = ['-f', 'lavfi', '-i', 'color=white:size=640x360', '-frames:v', '1'];
  await ffmpeg([...white, path.join(dir, 'white.png')]);
}, 240_000);

afterEach(async () => {
  await stage.close();
});

afterAll(async () => {
  await disposeRtcNode();
  await rm(dir, { recursive: true, force: true });
});

test('while the encoder is away the slate is seen, also by those who come meanwhile, and then the encoder again', async () => {
  stage = await startRtmpStage({
    policy: { reconnectWindowMs: 30_000 },
    slates: { files: { white: path.join(dir, 'white.png') }, byDefault: '' },
    info: { participantMetadata: '{"sluice.ingress.slate":"white"}' },
  });
  const isSlate = ({ barcode, flash }: SeenFrame): boolean => barcode === WHITE && flash;
  const viewer = await stage.viewer('viewer');
  const first = stage.push(path.join(dir, 'film.flv'));
  await viewer.until(() => viewer.frames.length >= 45);
  expect(viewer.frames.some(isSlate)).toBe(false);
  first.kill('SIGKILL');
  await viewer.until(() => viewer.frames.filter(isSlate).length >= 10);
  expect(stage.harness.states.at(-1)?.status).toBe(ENDPOINT_BUFFERING);
  const late = await stage.viewer('late');
  await late.until(() => late.frames.length >= 3);
  expect(late.frames.every(isSlate)).toBe(true);
  stage.push(path.join(dir, 'film.flv'));
  const before = viewer.frames.length;
  await viewer.until(() => viewer.frames.slice(before).filter((frame) => !isSlate(frame)).length >= 45);
  expect(isSlate(viewer.frames.at(-1) ?? expect.fail('no picture'))).toBe(false);
  await expect.poll(() => stage.harness.states.at(-1)?.status, { timeout: 15_000 }).toBe(ENDPOINT_PUBLISHING);
  expect(new Set(viewer.frames.map(({ width, height }) => `${width}x${height}`))).toEqual(
    new Set(['320x180']),
  );
});
