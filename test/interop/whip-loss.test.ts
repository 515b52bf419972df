import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { RoomInternal } from '../../services/bus/rpc-methods.ts';
import { analyzeFlashBeep } from '../support/flash-beep.ts';
import { ENDPOINT_ERROR, ENDPOINT_PUBLISHING, STREAM_KEY } from '../support/ingress-harness.ts';
import { LossyLine } from '../support/lossy-line.ts';
import { ObsLikeEncoder } from '../support/obs-like-encoder.ts';
import { recordTracks } from '../support/room-recorder.ts';
import { disposeRtcNode, type RtcNodeViewer } from '../support/rtc-node-viewer.ts';
import { SeededRandom } from '../support/seeded-random.ts';
import { startWhipStage, type WhipStage } from '../support/whip-stage.ts';

// OBS never makes a key frame when asked: what is lost for good is only made up for by its next one.

const LAYER = { width: 640, height: 360, bitrateKbps: 800 };

let dir: string;
let stage: WhipStage;
const encoders: ObsLikeEncoder[] = [];

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'sluice-whip-loss-'));
});
beforeEach(async () => {
  stage = await startWhipStage();
});
afterEach(async () => {
  for (const encoder of encoders.splice(0)) {
    encoder.drop();
  }
  await stage.close();
});
afterAll(async () => {
  await disposeRtcNode();
  await rm(dir, { recursive: true, force: true });
});

async function obs(line: LossyLine, layer = LAYER): Promise<ObsLikeEncoder> {
  const encoder = await ObsLikeEncoder.start({
    url: stage.harness.whipUrl,
    bearer: STREAM_KEY,
    layers: [layer],
    line,
  });
  encoders.push(encoder);
  return encoder;
}

/** Pictures in their order, none damaged or shown again, and the tone, in what comes from now on. */
async function expectClean(viewer: RtcNodeViewer, width = LAYER.width): Promise<void> {
  const { frames, sound } = viewer;
  const [firstFrame, firstSound] = [frames.length, sound.length];
  const seen = (): typeof frames => frames.slice(firstFrame).filter((frame) => frame.width === width);
  const beeps = (): boolean[] => sound.slice(firstSound).map(({ beep }) => beep);
  await viewer.until(
    () => seen().length >= 60 && onsets(seen().map(({ flash }) => flash)) >= 1 && onsets(beeps()) >= 1,
  );
  const codes = seen().map(({ barcode }) => barcode);
  expect(new Set(codes).size).toBeGreaterThanOrEqual(codes.length * 0.9);
  // The counter may begin again once.
  expect(codes.slice(1).filter((code, i) => code < (codes[i] ?? 0)).length).toBeLessThanOrEqual(1);
}

test('the first 50 packets of picture and sound are lost, and nothing is ever sent again', async () => {
  const sent = new Map<number, number>();
  const line = new LossyLine({
    isLost: ({ ssrc }) => {
      const before = sent.get(ssrc) ?? 0;
      sent.set(ssrc, before + 1);
      return before < 50;
    },
  });
  const viewer = await stage.viewer();
  await obs(line);
  await expectClean(viewer);
  expect([...line.lost.values()]).toEqual([50, 50]);
  const file = path.join(dir, 'first-packets.mp4');
  const token = await stage.sfu.joinToken('recorder', 'studio');
  await recordTracks({ wsUrl: stage.sfu.wsUrl, token, file, seconds: 6 });
  const report = await analyzeFlashBeep(file);
  expect(report).toMatchObject({ reordered: 0, skipped: 0 });
  expect(report.flashesS.length).toBeGreaterThanOrEqual(2);
  expect(Math.abs(report.medianOffsetMs)).toBeLessThan(45);
  expect(stage.harness.states.at(-1)).toMatchObject({ status: ENDPOINT_PUBLISHING, error: '' });
});

test('0, 2, 5 and 10 of 100 packets are lost, repeated ones too', async () => {
  const random = new SeededRandom(9725);
  let percent = 0;
  const line = new LossyLine({ isLost: () => random.chance(percent / 100), repairs: () => true });
  const viewer = await stage.viewer();
  await obs(line);
  await expectClean(viewer);
  expect(total(line.lost)).toBe(0);
  for (percent of [2, 5, 10]) {
    const before = total(line.lost);
    await viewer.until(() => total(line.lost) >= before + 5);
    await expectClean(viewer);
  }
  expect(total(line.repaired)).toBeGreaterThan(0);
  expect(stage.harness.states.some(({ status }) => status === ENDPOINT_ERROR)).toBe(false);
});

test('an encoder that goes on with other sources in the same sections keeps its tracks', async () => {
  const line = new LossyLine({});
  const viewer = await stage.viewer();
  await obs(line);
  await expectClean(viewer);
  const trackSids = async (): Promise<string[]> => {
    const { participants } = await stage.sfu.bus.request(RoomInternal.listParticipants, { room: 'studio' });
    return participants.flatMap(({ tracks }) => tracks.map(({ sid }) => sid)).sort();
  };
  const before = await trackSids();
  expect(before).toHaveLength(2);
  line.changeSources();
  await expectClean(viewer);
  expect(await trackSids()).toEqual(before);
  expect(stage.harness.states.at(-1)).toMatchObject({ status: ENDPOINT_PUBLISHING, error: '' });
});

test('an encoder that comes back with other keys and sources is seen again; a restart cannot change keys', async () => {
  const viewer = await stage.viewer();
  const first = await obs(new LossyLine({}));
  await expectClean(viewer);
  const fingerprint = `sha-256 ${Array.from({ length: 32 }, () => 'AB').join(':')}`;
  const refused = await fetch(first.location, {
    method: 'PATCH',
    headers: {
      authorization: `Bearer ${STREAM_KEY}`,
      'content-type': 'application/trickle-ice-sdpfrag',
      'if-match': '*',
    },
    body: `a=ice-ufrag:wxyz9876\r\na=ice-pwd:ffeeddccbbaa99887766554433221100\r\na=fingerprint:${fingerprint}\r\n`,
  });
  expect(refused.status).toBe(422);
  expect(await refused.text()).toContain('fingerprint');
  await expectClean(viewer);

  first.drop();
  const small = { width: 320, height: 180, bitrateKbps: 300 };
  const line = new LossyLine({});
  line.changeSources();
  await expect
    .poll(async () => (await obs(line, small).catch(() => undefined)) !== undefined, {
      timeout: 30_000,
      interval: 500,
    })
    .toBe(true);
  await expectClean(viewer, small.width);
  const { participants } = await stage.sfu.bus.request(RoomInternal.listParticipants, { room: 'studio' });
  expect(participants.filter(({ identity }) => identity === 'obs')).toHaveLength(1);
});

function onsets(series: readonly boolean[]): number {
  return series.filter((on, i) => on && series[i - 1] === false).length;
}

function total(counts: ReadonlyMap<number, number>): number {
  return [...counts.values()].reduce((sum, count) => sum + count, 0);
}
