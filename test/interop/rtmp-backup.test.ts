import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { flashBeepInputs } from '../../fixtures/flash-beep.ts';
import { RoomInternal } from '../../services/bus/rpc-methods.ts';
import { ffmpeg } from '../support/ffmpeg-encoder.ts';
import { ENDPOINT_BUFFERING, ENDPOINT_PUBLISHING } from '../support/ingress-harness.ts';
import { watchMachine } from '../support/machine-load.ts';
import { disposeRtcNode, type SeenFrame } from '../support/rtc-node-viewer.ts';
import { startRtmpStage, type RtmpStage } from '../support/rtmp-stage.ts';

const RATE = 30;
/** Frame 0 of the backup's film: 20 s into the same one, so that a picture tells where it comes from. */
const BACKUP_STARTS_S = 20;
/** Far above what it should be; far below the 10 s between two key frames. */
const MAX_GAP_MS = 1_500;
const BUSY_GAP_MS = 4_000;

let dir: string;
let stage: RtmpStage;

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'sluice-backup-'));
  for (const [name, extra] of [
    ['plain', ['-profile:v', 'baseline', '-bf', '0']],
    ['bframes', ['-profile:v', 'main', '-bf', '2']],
  ] as const) {
    await ffmpeg([
      ...flashBeepInputs({ width: 320, height: 180, framesPerSecond: RATE, realTime: false }),
      ...['-t', '45', '-c:v', 'libx264', '-preset', 'veryfast', ...extra, '-pix_fmt', 'yuv420p'],
      // Key frames every 10 s: nobody could wait for the next one.
      ...['-b:v', '400k', '-g', String(10 * RATE), '-keyint_min', String(10 * RATE), '-sc_threshold', '0'],
      ...['-c:a', 'aac', '-b:a', '128k', path.join(dir, `${name}.flv`)],
    ]);
  }
}, 240_000);

afterEach(async () => {
  await stage.close();
});

afterAll(async () => {
  await disposeRtcNode();
  await rm(dir, { recursive: true, force: true });
});

const isBackup = ({ barcode }: SeenFrame): boolean => barcode >= BACKUP_STARTS_S * RATE;

test.each([
  { film: 'plain', signal: 'SIGSTOP', treatment: 'passthrough' },
  { film: 'bframes', signal: 'SIGKILL', treatment: 'transcode: B-frames' },
] as const)('after $signal of an encoder its backup is seen and heard ($treatment)', async (example) => {
  const { signal, treatment } = example;
  const film = path.join(dir, `${example.film}.flv`);
  stage = await startRtmpStage({
    policy: { duplicateKey: 'backup', reconnectWindowMs: 10_000 },
  });
  const viewer = await stage.viewer();
  const { frames, sound } = viewer;
  const first = stage.push(film);
  await viewer.until(() => frames.length >= RATE && sound.some(({ beep }) => beep));
  expect(viewer.attributesOf('obs')['sluice.ingress.video']).toBe(treatment);
  const before = await publisher();
  stage.push(film, { fromS: BACKUP_STARTS_S });
  const seen = frames.length;
  await viewer.until(() => frames.length >= seen + 4 * RATE);
  expect(frames.some(isBackup)).toBe(false);

  const load = watchMachine();
  first.kill(signal);
  const heard = sound.length;
  await viewer.until(
    () =>
      new Set(frames.filter(isBackup).map(({ barcode }) => barcode)).size >= 2 * RATE &&
      sound.slice(heard).some(({ beep }) => beep),
  );
  const maxGapMs = load() ? BUSY_GAP_MS : MAX_GAP_MS;
  const takeOver = frames.findIndex(isBackup);
  const gapMs = (frames[takeOver]?.atMs ?? 0) - (frames[takeOver - 1]?.atMs ?? 0);
  console.info(`${example.film}, ${signal}: ${Math.round(gapMs)} ms without a new picture`);
  expect(gapMs).toBeLessThan(maxGapMs);
  // Nothing of the first one afterwards, and time goes on: no picture of the backup comes twice or out of order.
  const codes = frames.slice(takeOver).map(({ barcode }) => barcode);
  expect(codes).toEqual([...codes].sort((a, b) => a - b));
  expect(await publisher()).toEqual(before);
  const statuses = stage.harness.states.map(({ status }) => status);
  expect(new Set(statuses.slice(statuses.indexOf(ENDPOINT_PUBLISHING)))).toEqual(
    new Set([ENDPOINT_PUBLISHING]),
  );
  expect(statuses.slice(0, statuses.indexOf(ENDPOINT_PUBLISHING))).toContain(ENDPOINT_BUFFERING);
});

async function publisher(): Promise<{ sid: string; tracks: string[] }> {
  const { participants } = await stage.sfu.bus.request(RoomInternal.listParticipants, { room: 'studio' });
  const obs = participants.find(({ identity }) => identity === 'obs');
  return { sid: obs?.sid ?? '', tracks: obs?.tracks.map(({ sid }) => sid).sort() ?? [] };
}
