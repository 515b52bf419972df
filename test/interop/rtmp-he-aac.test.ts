import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { withPublished } from '../support/fake-room-report.ts';
import { analyzeFlashBeep } from '../support/flash-beep.ts';
import { messagesOf, publishMessages } from '../support/generated-encoder.ts';
import { encodeHeAac, expectHeAac, heAacSource, type HeAacForm } from '../support/he-aac.ts';
import { startIngressHarness, STREAM_KEY } from '../support/ingress-harness.ts';

const SECONDS = 4;
const MAX_SKEW_MS = 40;

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'sluice-he-aac-'));
  await heAacSource(path.join(folder, 'source.mkv'), { width: 320, height: 180, seconds: SECONDS });
});

afterAll(() => rm(folder, { recursive: true, force: true }));

// What is told with `implicit` is the core alone: whether there is more, only a decoder finds out.
describe.concurrent('HE-AAC of a real encoder is heard whole, in step with the picture', () => {
  test.concurrent.each<[HeAacForm['profile'], HeAacForm['signaling'], object]>([
    ['aac_he', 'explicit_hierarchical', { sampleRate: 48_000, channels: 2 }],
    ['aac_he', 'implicit', { sampleRate: 24_000, channels: 2 }],
    ['aac_he_v2', 'explicit_sbr', { sampleRate: 48_000, channels: 2 }],
  ])('%s, %s', { timeout: 120_000 }, async (profile, signaling, told) => {
    const film = path.join(folder, `${profile}-${signaling}.flv`);
    await encodeHeAac(path.join(folder, 'source.mkv'), film, { profile, signaling });
    const harness = await startIngressHarness();
    const { room, states } = harness;
    const encoder = await publishMessages(harness.ingress.rtmpPort, STREAM_KEY, await messagesOf(film));
    try {
      await room.until(() => {
        const packets = room.packets('audio');
        return (packets.at(-1)?.ptsUs ?? 0) - (packets[0]?.ptsUs ?? 0) > (SECONDS - 0.3) * 1e6;
      });
    } finally {
      await encoder.stop();
      await harness.close();
    }
    await withPublished(room, async (file) => {
      const report = await analyzeFlashBeep(file);
      expect(report.beepsS.length).toBeGreaterThanOrEqual(SECONDS - 1);
      expect(Math.abs(report.medianOffsetMs)).toBeLessThanOrEqual(MAX_SKEW_MS);
      await expectHeAac(file);
    });
    const state = states.findLast(({ audio }) => audio !== undefined);
    expect(state?.audio).toMatchObject({ mimeType: 'audio/aac', ...told });
  });
});
