import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, it, type ExpectStatic } from 'vitest';
import { BARCODE } from '../../fixtures/flash-beep.ts';
import { IngressHandler } from '../../services/bus/rpc-methods.ts';
import { decodePackets } from '../support/decoded-packets.ts';
import { FfmpegEncoder, ffmpeg } from '../support/ffmpeg-encoder.ts';
import {
  ENDPOINT_BUFFERING,
  ENDPOINT_INACTIVE,
  ENDPOINT_PUBLISHING,
  startIngressHarness,
  type IngressHarness,
  type IngressHarnessOptions,
} from '../support/ingress-harness.ts';
import { watchMachine } from '../support/machine-load.ts';
import { makeClips } from '../support/url-clips.ts';

/** The second encoder starts in the middle of the film, so that a picture tells who sends it. */
const SECONDS = 60;
const SECOND_STARTS_S = 30;
const FIRST_ENDS_S = 25;
const FPS = 30;
/** Every cell of the bar code is white in a white picture; the film never counts that far. */
const WHITE = 2 ** BARCODE.bits - 1;
/** Without media for so long an encoder that was cut off is missed; the machine may be busy. */
const PATIENT = { timeout: 30_000, interval: 50 };

let dir: string;
const harnesses: IngressHarness[] = [];
const encoders: FfmpegEncoder[] = [];

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'sluice-srt-policies-'));
  await makeClips(dir, ['clip.ts'], SECONDS);
  const white = ['-f', 'lavfi', '-i', 'color=white:size=640x360', '-frames:v', '1'];
  await ffmpeg([...white, path.join(dir, 'white.png')]);
}, 240_000);

afterAll(async () => {
  encoders.forEach((encoder) => {
    encoder.kill('SIGKILL');
  });
  await Promise.all(harnesses.map((harness) => harness.close()));
  await rm(dir, { recursive: true, force: true });
});

async function start(options: IngressHarnessOptions = {}): Promise<IngressHarness> {
  const harness = await startIngressHarness({ srt: {}, ...options });
  harnesses.push(harness);
  return harness;
}

function push(url: string, fromS = 0): FfmpegEncoder {
  const encoder = new FfmpegEncoder([
    ...['-re', '-ss', String(fromS), '-stream_loop', '-1', '-i', path.join(dir, 'clip.ts')],
    ...['-c', 'copy', '-f', 'mpegts', `${url}&mode=caller`],
  ]);
  encoders.push(encoder);
  return encoder;
}

/** Pushes until it is seen and heard. */
async function publish({ room, srtUrl, stateThat }: IngressHarness): Promise<FfmpegEncoder> {
  const encoder = push(srtUrl);
  await stateThat(({ status }) => status === ENDPOINT_PUBLISHING);
  await room.until(() => room.packets('video').length > FPS && room.packets('audio').length > FPS);
  return encoder;
}

/** What comes in the next second and a half, picture and sound. */
async function more({ room }: IngressHarness): Promise<void> {
  const seen = { video: room.packets('video').length, audio: room.packets('audio').length };
  await room.until(
    () =>
      room.packets('video').length > seen.video + 1.5 * FPS &&
      room.packets('audio').length > seen.audio + 1.5 * FPS,
  );
}

/** Counters of the pictures that were published, decoded; the newest ones may be on their way. */
function shown({ room }: IngressHarness): number[] {
  return decodePackets('h264', room.packets('video')).barcodes;
}

const isSecond = (counter: number): boolean => counter >= FIRST_ENDS_S * FPS && counter !== WHITE;

function expectOneParticipant({ room }: IngressHarness, expect: ExpectStatic): void {
  expect([room.connections.length, room.tracks.length]).toEqual([1, 2]);
  for (const { packets, unpublished } of room.tracks) {
    const times = packets.map(({ ptsUs }) => ptsUs);
    expect(times).toEqual([...times].sort((a, b) => a - b));
    expect(unpublished).toBe(false);
  }
}

describe.concurrent('over SRT as over RTMP', () => {
  it('with duplicate_key "replace" the second encoder takes the place of the first', async ({ expect }) => {
    const harness = await start({ policy: { duplicateKey: 'replace' } });
    const { room, states } = harness;
    const first = await publish(harness);
    push(harness.srtUrl, SECOND_STARTS_S);
    expect((await first.exited).code).not.toBe(0);
    await more(harness);
    const counters = shown(harness);
    expect(counters.some((counter) => !isSecond(counter))).toBe(true);
    expect(isSecond(counters.at(-1) ?? 0)).toBe(true);
    expectOneParticipant(harness, expect);
    expect(states.at(-1)?.status).toBe(ENDPOINT_PUBLISHING);
    expect(room.left).toEqual([]);
  });

  it('with duplicate_key "backup" it stands by, is heard when the first is gone, and a third is refused', async ({
    expect,
  }) => {
    let accepted = 0;
    const harness = await start({
      policy: { duplicateKey: 'backup', reconnectWindowMs: 10_000 },
      onPublishResult: (_type, status) => (accepted += Number(status === 'success')),
    });
    const first = await publish(harness);
    const load = watchMachine();
    const second = push(harness.srtUrl, SECOND_STARTS_S);
    await expect.poll(() => accepted, PATIENT).toBe(2);
    expect((await push(harness.srtUrl).exited).code).not.toBe(0);
    await more(harness);
    // An encoder that had no time for a moment is a stalled one, and the other has taken over already.
    const wasBusy = load();
    const seen = shown(harness);
    const isSecondOn = isSecond(seen.at(-1) ?? 0);
    expect(isSecondOn && !wasBusy).toBe(false);
    const isOther = (counter: number): boolean => counter !== WHITE && isSecond(counter) !== isSecondOn;
    (isSecondOn ? second : first).kill('SIGKILL');
    await more(harness);
    await more(harness);
    const counters = shown(harness).slice(seen.length);
    const takeOver = counters.findIndex(isOther);
    expect(takeOver).toBeGreaterThanOrEqual(0);
    expect(counters.slice(takeOver).every(isOther)).toBe(true);
    expectOneParticipant(harness, expect);
    const { states } = harness;
    const since = states.slice(states.findIndex(({ status }) => status === ENDPOINT_PUBLISHING));
    expect(since.every(({ status }) => status === ENDPOINT_PUBLISHING)).toBe(true);
  });

  it('who vanished is waited for behind a slate, and comes back to the same participant', async ({
    expect,
  }) => {
    const harness = await start({
      policy: { reconnectWindowMs: 60_000 },
      slates: { files: { white: path.join(dir, 'white.png') }, byDefault: 'white' },
    });
    const { room, states, ingress } = harness;
    const first = await publish(harness);
    first.kill('SIGKILL');
    await expect.poll(() => states.at(-1)?.status, PATIENT).toBe(ENDPOINT_BUFFERING);
    const before = room.packets('video').length;
    await room.until(() => room.packets('video').length > before + 5);
    expect(shown(harness).at(-1)).toBe(WHITE);
    push(harness.srtUrl, SECOND_STARTS_S);
    await expect.poll(() => states.at(-1)?.status, PATIENT).toBe(ENDPOINT_PUBLISHING);
    await more(harness);
    expect(isSecond(shown(harness).at(-1) ?? 0)).toBe(true);
    expectOneParticipant(harness, expect);
    expect(ingress.activeIngressIds()).toEqual(['IN_test']);
  });

  it('new names are told the room and the encoder goes on; who is removed from the room is hung up on', async ({
    expect,
  }) => {
    const harness = await start();
    const { room, bus, srtUrl, stateThat } = harness;
    const encoder = await publish(harness);
    const names = { participantName: 'Camera 2', participantMetadata: '{"role":"guest"}' };
    const request = { ingressId: 'IN_test', ...names };
    await bus.request(IngressHandler.updateIngress, request, { topic: 'IN_test' });
    expect(room.profiles).toEqual([{ name: 'Camera 2', metadata: '{"role":"guest"}' }]);
    await more(harness);
    expectOneParticipant(harness, expect);
    expect((await push(srtUrl).exited).code).not.toBe(0);
    room.events.emit('disconnected', { reason: 'PARTICIPANT_REMOVED' });
    expect((await encoder.exited).code).not.toBe(0);
    await stateThat(({ endedAt }) => endedAt > 0n);
  });

  it('a node that drains takes nobody new, lets those who are there go on, and waits for nobody who vanishes', async ({
    expect,
  }) => {
    const harness = await start({ policy: { reconnectWindowMs: 60_000 } });
    const { ingress, states, srtUrl } = harness;
    const encoder = await publish(harness);
    const drained = ingress.drain();
    await more(harness);
    expect((await push(srtUrl).exited).code).not.toBe(0);
    expect(states.at(-1)?.status).toBe(ENDPOINT_PUBLISHING);
    encoder.kill('SIGKILL');
    await drained;
    expect(states.at(-1)?.status).toBe(ENDPOINT_INACTIVE);
  });
});
