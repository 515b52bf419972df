import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { amfObject } from '../../services/protocol/amf0.ts';
import { ffmpeg, FfmpegEncoder } from '../support/ffmpeg-encoder.ts';
import { messagesOf, publishMessages } from '../support/generated-encoder.ts';
import {
  ENDPOINT_INACTIVE,
  startIngressHarness,
  STREAM_KEY,
  type IngressHarness,
} from '../support/ingress-harness.ts';
import { RtmpClient } from '../support/rtmp-client.ts';
import { selfSigned } from '../support/tls-front.ts';

const SECONDS = 2;
const SOURCE = [
  ...['-f', 'lavfi', '-i', `testsrc2=size=320x180:rate=30:duration=${SECONDS}`],
  ...['-f', 'lavfi', '-i', `sine=frequency=1000:sample_rate=48000:duration=${SECONDS}`],
  ...['-c:v', 'libx264', '-preset', 'ultrafast', '-tune', 'zerolatency', '-g', '30', '-pix_fmt', 'yuv420p'],
  ...['-c:a', 'aac', '-ac', '2'],
];

let harness: IngressHarness | undefined;
afterEach(() => harness?.close());

test('a player that checks our digests (ffmpeg) gets through the handshake and is told that this is no place for it', async () => {
  harness = await startIngressHarness();
  const player = ffmpeg(['-v', 'debug', '-i', harness.url, '-f', 'null', '-']);
  const failure: unknown = await player.catch((error: unknown) => error);
  const log = String((failure as { stderr?: unknown }).stderr ?? failure);
  expect(log).toContain('this server only accepts publishers');
  expect(log).not.toContain('validating failed');
});

test('ffmpeg publishes over RTMPS', async () => {
  harness = await startIngressHarness({ rtmps: selfSigned() });
  const { ingress, room, stateThat } = harness;
  const url = `rtmps://127.0.0.1:${ingress.rtmpsPort}/live/${STREAM_KEY}?token=x`;
  const encoder = new FfmpegEncoder(['-re', ...SOURCE, '-f', 'flv', url]);
  expect(await encoder.exited).toMatchObject({ code: 0 });
  const final = await stateThat(({ status }) => status === ENDPOINT_INACTIVE);
  expect(final.error).toBe('');
  expect(room.packets('video')).toHaveLength(30 * SECONDS);
  expect(Math.abs(room.packets('audio').length - 50 * SECONDS)).toBeLessThanOrEqual(5);
});

test('pictures that are shown before they are decoded, by their times, keep to the clock', async () => {
  const folder = await mkdtemp(path.join(tmpdir(), 'sluice-wire-'));
  const film = path.join(folder, 'film.flv');
  await ffmpeg([...SOURCE.slice(0, 8), '-c:v', 'libx264', '-bf', '2', '-pix_fmt', 'yuv420p', '-an', film]);
  harness = await startIngressHarness();
  const { ingress, room } = harness;
  const encoder = await publishMessages(ingress.rtmpPort, STREAM_KEY, await messagesOf(film), {
    compositionMs: -100,
  });
  await room.until(() => room.packets('video').length >= 30 * SECONDS - 5);
  const times = room.packets('video').map(({ ptsUs }) => ptsUs / 1e6);
  expect((times.at(-1) ?? 0) - (times[0] ?? 0)).toBeGreaterThan(SECONDS - 0.5);
  expect((times.at(-1) ?? 0) - (times[0] ?? 0)).toBeLessThan(SECONDS + 0.5);
  await encoder.stop();
  await rm(folder, { recursive: true, force: true });
});

test('on drain an encoder that understands it is asked to connect again, and may finish', async () => {
  harness = await startIngressHarness();
  const client = new RtmpClient(harness.ingress.rtmpPort).handshake();
  client.command('connect', amfObject({ app: 'live', capsEx: 1 }));
  client.command('createStream', null).command('publish', null, STREAM_KEY, 'live');
  expect((await client.status()).code).toBe('NetStream.Publish.Start');
  const drained = harness.ingress.drain();
  await client.until(() => client.statuses().length > 1);
  expect(client.statuses()[1]).toMatchObject({ code: 'NetConnection.Connect.ReconnectRequest' });
  client.command('deleteStream', null, 1);
  await drained;
  await client.closed;
});
