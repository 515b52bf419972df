import { execFile, fork, spawn, type ChildProcess } from 'node:child_process';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { IngressVideoEncodingPreset } from '@livekit/protocol';
import { build } from 'esbuild';
import { flashBeepAudio, flashBeepVideo, passthroughH264 } from '../../fixtures/flash-beep.ts';
import { presetLayers, VIDEO_PRESETS, type TargetLayer } from '../../services/model/ingress.ts';
import type { NodeMessage, NodeReply } from './rtmp-passthrough-node.ts';

const LIVEKIT_DEFAULT = { width: 1280, height: 720, framerate: 30, bitrateKbps: 1_900, layers: 3 } as const;
const CLIP_SECONDS = 10;
const PICTURE = { width: 1920, height: 1080, framesPerSecond: 30, background: 'motion' } as const;
/** Joining costs more than a stream does; no multiple of a picture or a key frame interval, so that those do not fall together. */
const ENCODER_SPACING_MS = 509;
const FFMPEG = process.env['FFMPEG_PATH'] ?? 'ffmpeg';
const run = promisify(execFile);

export type PassthroughRun = {
  streams: number;
  warmUpMs: number;
  measuredMs: number;
  /** The endpoint's preset, which asks for layers; the baseline encodes the same. Default: none, one layer. */
  preset?: IngressVideoEncodingPreset;
};

/**
 * OBS streams on their way into rooms, one room each: 1080p30 at 6 Mbit/s with AAC, pushed by ffmpeg in real time into the
 * real ingress and SFU. Counted are SFU, room client, ingress and the ffmpegs that make Opus of AAC. The baseline, of one
 * stream, is what LiveKit's default preset asks for, done by ffmpeg with the same file in the same run.
 */
export async function measurePassthrough(
  options: PassthroughRun,
): Promise<{ cores: number; treatment: string; baseline: { name: string; value: number } }> {
  // The bundle lies inside the repository, so that it finds node_modules.
  const bundles = path.resolve('node_modules/.cache', `sluice-bench-rtmp-${process.pid}`);
  const dir = await mkdtemp(path.join(tmpdir(), 'sluice-bench-rtmp-'));
  try {
    await mkdir(bundles, { recursive: true });
    const entry = path.join(bundles, 'node.mjs');
    await build({
      entryPoints: [path.resolve('test/bench/rtmp-passthrough-node.ts')],
      outfile: entry,
      bundle: true,
      platform: 'node',
      format: 'esm',
      packages: 'external',
      logLevel: 'error',
    });
    const clip = await makeClip(dir);
    const layers = presetLayers(VIDEO_PRESETS[options.preset ?? 0] ?? LIVEKIT_DEFAULT).reverse();
    const value = await liveKitPipelineCores(clip, layers);
    const sizes = layers.map(({ height }) => `${height}p`).join('+');
    return {
      ...(await ingressCores(entry, clip, options)),
      baseline: { name: `ffmpeg: decode, ${sizes} x264 veryfast, Opus`, value },
    };
  } finally {
    await rm(bundles, { recursive: true, force: true });
    await rm(dir, { recursive: true, force: true });
  }
}

/** Moving picture with noise, so that the encoder really spends its 6 Mbit/s. */
async function makeClip(dir: string): Promise<string> {
  const clip = path.join(dir, 'clip.flv');
  await run(FFMPEG, [
    ...['-v', 'error', '-y'],
    ...['-f', 'lavfi', '-i', `${flashBeepVideo(PICTURE)},noise=alls=6:allf=t`],
    ...['-f', 'lavfi', '-i', flashBeepAudio({ sampleRateHz: 48_000, channels: 2 })],
    ...['-t', String(CLIP_SECONDS)],
    ...passthroughH264({ framesPerSecond: PICTURE.framesPerSecond, bitrateKbps: 6_000 }),
    ...['-c:a', 'aac', '-b:a', '160k', clip],
  ]);
  return clip;
}

/** CPU seconds per media second, as ffmpeg itself counts them. */
async function liveKitPipelineCores(clip: string, layers: readonly TargetLayer[]): Promise<number> {
  const x264 = ['-c:v', 'libx264', '-preset', 'veryfast', '-tune', 'zerolatency', '-profile:v', 'baseline'];
  const split = `[0:v]split=3${layers.map((_, i) => `[s${i}]`).join('')}`;
  const scales = layers.map(({ width, height }, i) => `[s${i}]scale=${width}:${height}[v${i}]`);
  const { stderr } = await run(FFMPEG, [
    ...['-hide_banner', '-nostats', '-benchmark', '-y', '-i', clip],
    ...['-filter_complex', [split, ...scales].join(';')],
    ...layers.flatMap(({ bitrateKbps }, i) => [
      ...['-map', `[v${i}]`, ...x264, '-b:v', `${bitrateKbps}k`, '-f', 'null', '-'],
    ]),
    ...['-map', '0:a', '-c:a', 'libopus', '-b:a', '96k', '-f', 'null', '-'],
  ]);
  const times = /bench: utime=([\d.]+)s stime=([\d.]+)s/.exec(stderr);
  if (times === null) {
    throw new Error(`ffmpeg -benchmark said nothing: ${stderr.slice(-500)}`);
  }
  return (Number(times[1]) + Number(times[2])) / CLIP_SECONDS;
}

async function ingressCores(
  entry: string,
  clip: string,
  { streams, warmUpMs, measuredMs, preset }: PassthroughRun,
): Promise<{ cores: number; treatment: string }> {
  const node = fork(
    entry,
    [String(streams), preset === undefined ? '' : IngressVideoEncodingPreset[preset]],
    { stdio: 'inherit' },
  );
  const exited = new Promise((resolve) => node.once('exit', resolve));
  const { urls } = await reply(node, 'ready');
  const encoders: ChildProcess[] = [];
  try {
    for (const url of urls) {
      encoders.push(push(clip, url));
      await delay(ENCODER_SPACING_MS);
    }
    await delay(warmUpMs);
    node.send({ type: 'start' } satisfies NodeMessage);
    await reply(node, 'started');
    const startedMs = performance.now();
    await delay(measuredMs);
    node.send({ type: 'stop' } satisfies NodeMessage);
    const { cpuSeconds, treatments } = await reply(node, 'result');
    return {
      cores: cpuSeconds / ((performance.now() - startedMs) / 1_000),
      treatment: [...new Set(treatments)].join('; '),
    };
  } finally {
    for (const encoder of encoders) {
      encoder.kill('SIGKILL');
    }
    if (node.connected) {
      node.send({ type: 'end' } satisfies NodeMessage);
    }
    const timer = setTimeout(() => node.kill('SIGKILL'), 5_000);
    await exited;
    clearTimeout(timer);
  }
}

function push(clip: string, url: string): ChildProcess {
  return spawn(
    FFMPEG,
    ['-v', 'error', '-re', '-stream_loop', '-1', '-i', clip, '-c', 'copy', '-f', 'flv', url],
    { stdio: ['ignore', 'ignore', 'inherit'] },
  );
}

function reply<Type extends NodeReply['type']>(
  child: ChildProcess,
  type: Type,
): Promise<Extract<NodeReply, { type: Type }>> {
  return new Promise((resolve, reject) => {
    const onExit = (code: number | null, signal: string | null): void => {
      reject(new Error(`bench process ended with ${String(code ?? signal)}`));
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
