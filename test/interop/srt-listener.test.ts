import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { IngressHandler } from '../../services/bus/rpc-methods.ts';
import { reportOf } from '../support/fake-room-report.ts';
import { FfmpegEncoder } from '../support/ffmpeg-encoder.ts';
import type { FlashBeepReport } from '../support/flash-beep.ts';
import {
  ENDPOINT_BUFFERING,
  ENDPOINT_ERROR,
  ENDPOINT_INACTIVE,
  ENDPOINT_PUBLISHING,
  startIngressHarness,
  STREAM_KEY,
  type IngressHarness,
  type IngressHarnessOptions,
} from '../support/ingress-harness.ts';
import { withSplices } from '../support/scte35-ts.ts';
import { CLIP, makeClips } from '../support/url-clips.ts';

const SECONDS = 5;
const MAX_SKEW_MS = 40;
const PASSPHRASE = 'correct-horse-battery';

let dir: string;
const harnesses: IngressHarness[] = [];
const encoders: FfmpegEncoder[] = [];

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'sluice-srt-'));
  await makeClips(dir, ['clip.ts', 'reordered.ts'], SECONDS);
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

type PushOptions = { clip?: string; loop?: boolean; format?: string[] };

function push(
  url: string,
  { clip = 'clip.ts', loop = false, format = ['-c', 'copy', '-f', 'mpegts'] }: PushOptions = {},
): FfmpegEncoder {
  const input = ['-re', ...(loop ? ['-stream_loop', '-1'] : []), '-i', path.join(dir, clip)];
  // Live senders throw away what is not sent when they end, unless they are asked to wait.
  const encoder = new FfmpegEncoder([...input, ...format, `${url}&mode=caller&linger=2`]);
  encoders.push(encoder);
  return encoder;
}

/** An MPEG-TS byte for byte, in `SECONDS`: ffmpeg as a muxer leaves out what it does not know. */
async function pushBytes(url: string, ts: Buffer): Promise<FfmpegEncoder> {
  const server = createServer((socket) => {
    const startMs = performance.now();
    let sent = 0;
    const timer = setInterval(() => {
      const part = Math.min(1, (performance.now() - startMs) / (SECONDS * 1000));
      const due = Math.floor(ts.length * part);
      socket.write(ts.subarray(sent, due));
      sent = due;
      if (part === 1) {
        socket.end();
      }
    }, 20);
    socket.on('error', () => undefined).once('close', () => clearInterval(timer));
    server.close();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const encoder = new FfmpegEncoder([
    ...['-f', 'data', '-raw_packet_size', '1316', '-i', `tcp://127.0.0.1:${port}`, '-map', '0', '-c', 'copy'],
    // Datagrams of seven whole packets.
    ...['-f', 'data', '-flush_packets', '0', `${url}&mode=caller&linger=2&pkt_size=1316`],
  ]);
  encoders.push(encoder);
  return encoder;
}

/** @param missing pictures that may be lost before ffmpeg knows what it reads, or at the end. */
function expectClip(report: FlashBeepReport, missing: number): void {
  expect(report.reordered).toBe(0);
  expect(report.skipped).toBeLessThanOrEqual(missing);
  expect(report.frames).toBeGreaterThanOrEqual(CLIP.framesPerSecond * SECONDS - missing);
  expect(report.flashesS.length).toBeGreaterThanOrEqual(SECONDS - 2);
  const last = report.offsetsMs.slice(-2).map(Math.abs);
  const measured = JSON.stringify(report.offsetsMs);
  expect(Math.min(...last), measured).toBeLessThanOrEqual(MAX_SKEW_MS);
  expect(Math.max(...last), measured).toBeLessThanOrEqual(120);
}

describe.concurrent('a publisher over SRT', () => {
  it('ffmpeg: every picture in order, sound in step, states as for RTMP', async () => {
    const { room, srtUrl, states, stateThat, ingress } = await start();
    const { code, stderr } = await push(srtUrl).exited;
    expect([code, stderr]).toEqual([0, '']);
    await stateThat(({ status }) => status === ENDPOINT_INACTIVE);
    expect(room.attributes['sluice.ingress.video']).toBe('passthrough');
    expectClip(await reportOf(room), 3);
    const order = states.map(({ status }) => status).filter((one, at, all) => one !== all[at - 1]);
    expect(order).toEqual([ENDPOINT_BUFFERING, ENDPOINT_PUBLISHING, ENDPOINT_INACTIVE]);
    const seen = states.findLast(({ video }) => video !== undefined);
    expect(seen?.video).toMatchObject({ mimeType: 'video/h264', width: CLIP.width, height: CLIP.height });
    expect(seen?.resourceId).toMatch(/^SR_/);
    expect(ingress.activeIngressIds()).toEqual([]);
  });

  it('B-frames are transcoded away, in order', async () => {
    const { room, srtUrl, stateThat } = await start();
    await push(srtUrl, { clip: 'reordered.ts' }).exited;
    await stateThat(({ status }) => status === ENDPOINT_INACTIVE);
    expect(room.attributes['sluice.ingress.video']).toBe('transcode: B-frames');
    // What the sender still has at the end comes all at once.
    expectClip(await reportOf(room), 20);
  });

  it('encrypted, the key in a list', async () => {
    const { room, srtUrl, stateThat } = await start({ srt: { passphrase: PASSPHRASE } });
    const url = srtUrl.replace(/streamid=.*/, `passphrase=${PASSPHRASE}&pbkeylen=32`);
    const format = ['-c', 'copy', '-f', 'mpegts', '-srt_streamid', `#!::r=${STREAM_KEY},m=publish`];
    const { code, stderr } = await push(url, { format }).exited;
    expect([code, stderr]).toEqual([0, '']);
    await stateThat(({ status }) => status === ENDPOINT_INACTIVE);
    expectClip(await reportOf(room), 5);
  });

  it('splices in the stream are told the room at their time (SCTE 35)', async ({ expect }) => {
    const { room, srtUrl, stateThat } = await start();
    const ts = withSplices(await readFile(path.join(dir, 'clip.ts')), [
      { sentAtS: 2, eventId: 7, outOfNetwork: true, atS: 3 },
      { sentAtS: 3.5, eventId: 7, outOfNetwork: false, atS: 4 },
    ]);
    const shown = (): string | undefined => room.attributes['ingress.outOfNetwork.eventID'];
    const encoder = await pushBytes(srtUrl, ts);
    await room.until(() => shown() === '7');
    // It was announced a second before.
    const seenS = room.packets('video').length / CLIP.framesPerSecond;
    expect(seenS).toBeGreaterThan(2);
    await room.until(() => shown() === '');
    expect((await encoder.exited).code).toBe(0);
    await stateThat(({ status }) => status === ENDPOINT_INACTIVE);
    expectClip(await reportOf(room), 5);
  });
});

describe('a publisher over SRT is refused', () => {
  const off = { info: { enabled: false } };
  it.each<[string, (url: string) => string, IngressHarnessOptions]>([
    ['with a wrong key', (url) => url.replace(STREAM_KEY, 'wrong'), {}],
    ['at an endpoint that is off', (url) => url, off],
    ['to receive', (url) => url.replace(STREAM_KEY, `read:${STREAM_KEY}`), {}],
    [
      'with a wrong passphrase',
      (url) => `${url}&passphrase=wrong-horse`,
      { srt: { passphrase: PASSPHRASE } },
    ],
    ['encrypted without need', (url) => `${url}&passphrase=${PASSPHRASE}`, {}],
  ])('%s', async (_case, change, options) => {
    const { srtUrl, states, ingress } = await start(options);
    const { code, stderr } = await push(change(srtUrl)).exited;
    expect(code).not.toBe(0);
    expect(stderr).toMatch(/rejected|error|failure/i);
    expect([states, ingress.activeIngressIds()]).toEqual([[], []]);
  });

  it('while another one publishes, who goes on', async () => {
    const { srtUrl, states, stateThat, ingress } = await start();
    push(srtUrl, { loop: true });
    await stateThat(({ status }) => status === ENDPOINT_PUBLISHING);
    const { code } = await push(srtUrl).exited;
    expect(code).not.toBe(0);
    expect([states.at(-1)?.status, ingress.activeIngressIds()]).toEqual([ENDPOINT_PUBLISHING, ['IN_test']]);
  });
});

describe.concurrent('a session over SRT', () => {
  it('waits for an encoder that vanished, and ends when nobody comes', async ({ expect }) => {
    const { room, srtUrl, states, stateThat } = await start({ policy: { reconnectWindowMs: 3_000 } });
    const first = push(srtUrl, { loop: true });
    await stateThat(({ status }) => status === ENDPOINT_PUBLISHING);
    first.kill('SIGKILL');
    await expect.poll(() => states.at(-1)?.status, { timeout: 15_000 }).toBe(ENDPOINT_BUFFERING);
    const second = push(srtUrl, { loop: true });
    await expect.poll(() => states.at(-1)?.status, { timeout: 15_000 }).toBe(ENDPOINT_PUBLISHING);
    expect(room.tracks).toHaveLength(2);
    second.kill('SIGKILL');
    await stateThat(({ status }) => status === ENDPOINT_INACTIVE);
    expect(states.every(({ error }) => error === '')).toBe(true);
  });

  it('is over when its endpoint is deleted: the encoder is hung up on', async () => {
    const { srtUrl, stateThat, bus } = await start();
    const encoder = push(srtUrl, { loop: true });
    await stateThat(({ status }) => status === ENDPOINT_PUBLISHING);
    await bus.request(IngressHandler.deleteIngress, { ingressId: 'IN_test' }, { topic: 'IN_test' });
    expect((await encoder.exited).code).not.toBe(0);
  });

  it('fails when what comes is no MPEG-TS', async () => {
    const { srtUrl, stateThat } = await start({ srt: { limits: { mediaTimeoutMs: 2_000 } } });
    push(srtUrl, { format: ['-vn', '-f', 's16le'] });
    const { error } = await stateThat(({ status }) => status === ENDPOINT_ERROR);
    expect(error).toMatch(/^the (stream cannot be read|input has sent nothing)/);
  });
});
