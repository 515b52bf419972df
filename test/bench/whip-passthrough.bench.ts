import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { createLogger } from '../../services/base/logger.ts';
import { connectRoom } from '../../services/rtc-client/room-client.ts';
import type { BenchRow } from '../support/bench-row.ts';
import { FfmpegWhipPublisher } from '../support/whip-ffmpeg.ts';
import { CLIP_SECONDS, makeBenchClip } from './bench-clip.ts';
import { startBenchNode, STREAM_WARM_UP_S } from './bench-node.ts';
import { livekitPresetCores } from './livekit-preset.ts';
import type { NodeReply } from './whip-passthrough-node.ts';

/**
 * What a WHIP stream costs: 720p30 at 2.5 Mbit/s with Opus, sent by FFmpeg's own WHIP muxer in real time to the real
 * ingress and SFU, first with nobody watching, then with one subscriber. The baseline is what a transcoding ingress does
 * with the same file in the same run: decode it and encode three layers.
 */
const ALONE = { warmUpS: STREAM_WARM_UP_S, measuredS: 20 };
const WATCHED = { warmUpS: 15, measuredS: 20 };
const TARGET_CORES = 0.02;
const PICTURE = { width: 1280, height: 720, framesPerSecond: 30, bitrateKbps: 2_500 };
const FFMPEG = process.env['FFMPEG_PATH'] ?? 'ffmpeg';
const run = promisify(execFile);

export async function bench(): Promise<BenchRow[]> {
  const dir = await mkdtemp(path.join(tmpdir(), 'sluice-bench-whip-'));
  try {
    const clip = path.join(dir, 'clip.mp4');
    await makeBenchClip(clip, PICTURE, ['-c:a', 'libopus', '-b:a', '96k']);
    const baseline = await livekitPresetCores(clip);
    const { alone, watched, bitrateKbps } = await passthroughCores(await repeat(clip, dir));
    const stream = `WHIP 720p30 ${(bitrateKbps / 1000).toFixed(1)} Mbit/s into a room`;
    const unit = 'CPU s per media s';
    return [
      { name: stream, value: alone, unit, target: TARGET_CORES, baseline },
      { name: `${stream}, one subscriber`, value: watched, unit, baseline },
    ];
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/** Long enough for both measurements. */
async function repeat(clip: string, dir: string): Promise<string> {
  const long = path.join(dir, 'long.mp4');
  const seconds = ALONE.warmUpS + ALONE.measuredS + WATCHED.warmUpS + WATCHED.measuredS + 30;
  const needed = Math.ceil(seconds / CLIP_SECONDS);
  await run(FFMPEG, ['-v', 'error', '-stream_loop', String(needed), '-i', clip, '-c', 'copy', long]);
  return long;
}

async function passthroughCores(
  clip: string,
): Promise<{ alone: number; watched: number; bitrateKbps: number }> {
  const node = await startBenchNode<NodeReply>('whip-passthrough-node');
  let publisher: FfmpegWhipPublisher | undefined;
  try {
    const { url, bearer, wsUrl, viewerToken } = await node.reply('ready');
    publisher = new FfmpegWhipPublisher({ url, bearer, file: clip });
    await publisher.connected;
    const alone = await node.cores(ALONE);
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
    const watched = await node.cores(WATCHED);
    await viewer.close('measured');
    // 30 pictures and 50 pieces of sound a second: a subscriber that got nothing would make a fine figure.
    if (received < (WATCHED.warmUpS + WATCHED.measuredS) * 70) {
      throw new Error(`the subscriber got only ${received} frames`);
    }
    node.send({ type: 'report' });
    const { bitrateKbps } = await node.reply('result');
    return { alone, watched, bitrateKbps };
  } finally {
    publisher?.kill('SIGKILL');
    await node.close();
  }
}
