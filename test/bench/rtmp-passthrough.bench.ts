import { execFile, fork, spawn, type ChildProcess } from 'node:child_process';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import { flashBeepAudio, flashBeepVideo, passthroughH264 } from '../../fixtures/flash-beep.ts';
import type { BenchRow } from '../support/bench-row.ts';
import type { NodeMessage, NodeReply } from './rtmp-passthrough-node.ts';

/**
 * What an OBS stream costs on its way into a room: 1080p30 at 6 Mbit/s with AAC, pushed by ffmpeg in real time into the
 * real ingress and SFU. Counted are SFU, room client, ingress and the ffmpeg that makes Opus of AAC. The baseline is
 * what LiveKit's default preset asks for, done by ffmpeg with the same file in the same run.
 */
const CLIP_SECONDS = 10;
/**
 * Code that runs some dozen times a second takes long to be compiled for good. In one profile each, V8's optimizing
 * compiler took 15 % of the CPU time 25 to 40 s after the start and 2 % after 85 s. A stream lasts hours.
 */
const WARM_UP_MS = 85_000;
const MEASURED_MS = 20_000;
const TARGET_CORES = 0.03;
const PICTURE = { width: 1920, height: 1080, framesPerSecond: 30, background: 'motion' } as const;
const FFMPEG = process.env['FFMPEG_PATH'] ?? 'ffmpeg';
const run = promisify(execFile);

export async function bench(): Promise<BenchRow[]> {
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
    const baseline = await liveKitPipelineCores(clip);
    const { cores, treatment } = await ingressCores(entry, clip);
    return [
      {
        name: `RTMP 1080p30 6 Mbit/s into a room (${treatment})`,
        value: cores,
        unit: 'CPU s per media s',
        target: TARGET_CORES,
        baseline: { name: 'ffmpeg: decode, 720p+360p+180p x264 veryfast, Opus', value: baseline },
      },
    ];
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
async function liveKitPipelineCores(clip: string): Promise<number> {
  const layers = [
    { size: '1280:720', kbps: 1_900 },
    { size: '640:360', kbps: 671 },
    { size: '320:180', kbps: 237 },
  ];
  const x264 = ['-c:v', 'libx264', '-preset', 'veryfast', '-tune', 'zerolatency', '-profile:v', 'baseline'];
  const split = `[0:v]split=3${layers.map((_, i) => `[s${i}]`).join('')}`;
  const scales = layers.map(({ size }, i) => `[s${i}]scale=${size}[v${i}]`);
  const { stderr } = await run(FFMPEG, [
    ...['-hide_banner', '-nostats', '-benchmark', '-y', '-i', clip],
    ...['-filter_complex', [split, ...scales].join(';')],
    ...layers.flatMap(({ kbps }, i) => ['-map', `[v${i}]`, ...x264, '-b:v', `${kbps}k`, '-f', 'null', '-']),
    ...['-map', '0:a', '-c:a', 'libopus', '-b:a', '96k', '-f', 'null', '-'],
  ]);
  const times = /bench: utime=([\d.]+)s stime=([\d.]+)s/.exec(stderr);
  if (times === null) {
    throw new Error(`ffmpeg -benchmark said nothing: ${stderr.slice(-500)}`);
  }
  return (Number(times[1]) + Number(times[2])) / CLIP_SECONDS;
}

async function ingressCores(entry: string, clip: string): Promise<{ cores: number; treatment: string }> {
  const node = fork(entry, { stdio: 'inherit' });
  const exited = new Promise((resolve) => node.once('exit', resolve));
  const { url } = await reply(node, 'ready');
  const encoder = spawn(
    FFMPEG,
    ['-v', 'error', '-re', '-stream_loop', '-1', '-i', clip, '-c', 'copy', '-f', 'flv', url],
    { stdio: ['ignore', 'ignore', 'inherit'] },
  );
  try {
    await delay(WARM_UP_MS);
    node.send({ type: 'start' } satisfies NodeMessage);
    await reply(node, 'started');
    const startedMs = performance.now();
    await delay(MEASURED_MS);
    node.send({ type: 'stop' } satisfies NodeMessage);
    const { cpuSeconds, treatment } = await reply(node, 'result');
    return { cores: cpuSeconds / ((performance.now() - startedMs) / 1_000), treatment };
  } finally {
    encoder.kill('SIGKILL');
    node.send({ type: 'end' } satisfies NodeMessage);
    const timer = setTimeout(() => node.kill('SIGKILL'), 5_000);
    await exited;
    clearTimeout(timer);
  }
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
