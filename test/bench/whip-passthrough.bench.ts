import { execFile, fork, type ChildProcess } from 'node:child_process';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import { flashBeepAudio, flashBeepVideo, passthroughH264 } from '../../fixtures/flash-beep.ts';
import { createLogger } from '../../services/base/logger.ts';
import { connectRoom } from '../../services/rtc-client/room-client.ts';
import type { BenchRow } from '../support/bench-row.ts';
import { FfmpegWhipPublisher } from '../support/whip-ffmpeg.ts';
import { LIVEKIT_PRESET, liveKitPresetCores } from './livekit-preset.ts';
import type { NodeMessage, NodeReply } from './whip-passthrough-node.ts';

/**
 * What a WHIP stream costs: 720p30 at 2.5 Mbit/s with Opus, sent by FFmpeg's own WHIP muxer in real time to the real
 * ingress and SFU, first with nobody watching, then with one subscriber. The baseline is what a transcoding ingress does
 * with the same file in the same run: decode it and encode three layers.
 */
const CLIP_SECONDS = 10;
const WARM_UP_MS = 15_000;
const MEASURED_MS = 20_000;
const BITRATE_KBPS = 2_500;
const TARGET_CORES = 0.03;
const PICTURE = { width: 1280, height: 720, framesPerSecond: 30, background: 'motion' } as const;
const FFMPEG = process.env['FFMPEG_PATH'] ?? 'ffmpeg';
const run = promisify(execFile);

export async function bench(): Promise<BenchRow[]> {
  // The bundle lies inside the repository, so that it finds node_modules.
  const bundles = path.resolve('node_modules/.cache', `sluice-bench-whip-${process.pid}`);
  const dir = await mkdtemp(path.join(tmpdir(), 'sluice-bench-whip-'));
  try {
    await mkdir(bundles, { recursive: true });
    const entry = path.join(bundles, 'node.mjs');
    await build({
      entryPoints: [path.resolve('test/bench/whip-passthrough-node.ts')],
      outfile: entry,
      bundle: true,
      platform: 'node',
      format: 'esm',
      packages: 'external',
      logLevel: 'error',
    });
    const clip = await makeClip(dir);
    const baseline = {
      name: LIVEKIT_PRESET,
      value: await liveKitPresetCores(clip, CLIP_SECONDS),
    };
    const { alone, watched, bitrateKbps } = await passthroughCores(entry, await repeat(clip, dir));
    const stream = `WHIP 720p30 ${(bitrateKbps / 1000).toFixed(1)} Mbit/s into a room`;
    const unit = 'CPU s per media s';
    return [
      { name: stream, value: alone, unit, target: TARGET_CORES, baseline },
      { name: `${stream}, one subscriber`, value: watched, unit, baseline },
    ];
  } finally {
    await rm(bundles, { recursive: true, force: true });
    await rm(dir, { recursive: true, force: true });
  }
}

/** Moving picture with noise, so that the encoder really spends its bits. */
async function makeClip(dir: string): Promise<string> {
  const clip = path.join(dir, 'clip.mp4');
  await run(FFMPEG, [
    ...['-v', 'error', '-y'],
    ...['-f', 'lavfi', '-i', `${flashBeepVideo(PICTURE)},noise=alls=6:allf=t`],
    ...['-f', 'lavfi', '-i', flashBeepAudio({ sampleRateHz: 48_000, channels: 2 })],
    ...['-t', String(CLIP_SECONDS)],
    ...passthroughH264({ framesPerSecond: PICTURE.framesPerSecond, bitrateKbps: BITRATE_KBPS }),
    ...['-c:a', 'libopus', '-b:a', '96k', clip],
  ]);
  return clip;
}

/** Long enough for both measurements. */
async function repeat(clip: string, dir: string): Promise<string> {
  const long = path.join(dir, 'long.mp4');
  const needed = Math.ceil((3 * (WARM_UP_MS + MEASURED_MS)) / 1_000 / CLIP_SECONDS);
  await run(FFMPEG, ['-v', 'error', '-stream_loop', String(needed), '-i', clip, '-c', 'copy', long]);
  return long;
}

async function passthroughCores(
  entry: string,
  clip: string,
): Promise<{ alone: number; watched: number; bitrateKbps: number }> {
  const node = fork(entry, { stdio: 'inherit' });
  const exited = new Promise((resolve) => node.once('exit', resolve));
  const { url, bearer, wsUrl, viewerToken } = await reply(node, 'ready');
  const publisher = new FfmpegWhipPublisher({ url, bearer, file: clip });
  try {
    await publisher.connected;
    await delay(WARM_UP_MS);
    const alone = await measure(node);
    const viewer = await connectRoom({
      url: wsUrl,
      token: viewerToken,
      autoSubscribe: false,
      logger: createLogger({ level: 'silent' }),
    });
    let received = 0;
    for (const { trackSid } of viewer.tracks()) {
      const subscription = await viewer.subscribe(trackSid);
      subscription.events.on('packet', () => (received += 1));
    }
    await delay(WARM_UP_MS);
    const watched = await measure(node);
    await viewer.close('measured');
    // 30 pictures and 50 pieces of sound a second: a subscriber that got nothing would make a fine figure.
    if (received < ((WARM_UP_MS + MEASURED_MS) / 1_000) * 70) {
      throw new Error(`the subscriber got only ${received} frames`);
    }
    return { alone: alone.cores, watched: watched.cores, bitrateKbps: watched.bitrateKbps };
  } finally {
    publisher.kill('SIGKILL');
    node.send({ type: 'end' } satisfies NodeMessage);
    const timer = setTimeout(() => node.kill('SIGKILL'), 5_000);
    await exited;
    clearTimeout(timer);
  }
}

async function measure(node: ChildProcess): Promise<{ cores: number; bitrateKbps: number }> {
  node.send({ type: 'start' } satisfies NodeMessage);
  await reply(node, 'started');
  const startedMs = performance.now();
  await delay(MEASURED_MS);
  node.send({ type: 'stop' } satisfies NodeMessage);
  const { cpuSeconds, bitrateKbps } = await reply(node, 'result');
  return { cores: cpuSeconds / ((performance.now() - startedMs) / 1_000), bitrateKbps };
}

function reply<Type extends NodeReply['type']>(
  child: ChildProcess,
  type: Type,
): Promise<Extract<NodeReply, { type: Type }>> {
  return new Promise((resolve, reject) => {
    const onExit = (code: number | null): void => {
      reject(new Error(`bench process ended with ${String(code)}`));
    };
    const onMessage = (message: NodeReply): void => {
      if (message.type === type) {
        child.off('message', onMessage);
        child.off('exit', onExit);
        resolve(message as Extract<NodeReply, { type: Type }>);
      }
    };
    child.on('message', onMessage);
    child.once('exit', onExit);
  });
}
