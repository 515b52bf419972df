import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { IngressVideoEncodingPreset } from '@livekit/protocol';
import { createLogger } from '../../services/base/logger.ts';
import { connectRoom } from '../../services/rtc-client/room-client.ts';
import type { RoomClient } from '../../services/rtc-client/room-client-types.ts';
import { makeBenchClip } from './bench-clip.ts';
import { startBenchNode } from './bench-node.ts';
import { livekitPresetCores } from './livekit-preset.ts';
import type { NodeReply } from './rtmp-passthrough-node.ts';

export type PushProtocol = 'rtmp' | 'srt';

const CONTAINER: Readonly<Record<PushProtocol, string>> = { rtmp: 'flv', srt: 'mpegts' };
const PICTURE = { width: 1920, height: 1080, framesPerSecond: 30, bitrateKbps: 6_000 };
/** Joining costs more than a stream does; no multiple of a picture or a key frame interval, so that those do not fall together. */
const ENCODER_SPACING_MS = 509;
const FFMPEG = process.env['FFMPEG_PATH'] ?? 'ffmpeg';

export type PassthroughRun = {
  /** How the encoders push; default: RTMP. */
  protocol?: PushProtocol;
  streams: number;
  warmUpS: number;
  measuredS: number;
  /** The endpoint's preset, which asks for layers; the baseline encodes the same. Default: none, one layer. */
  preset?: IngressVideoEncodingPreset;
};

/**
 * OBS streams on their way into rooms, one room each: 1080p30 at 6 Mbit/s with AAC, pushed by ffmpeg in real time into the
 * real ingress and SFU. Counted are SFU, room client, ingress and its ffmpegs (they make Opus of AAC, and read SRT). The baseline, of one
 * stream, is what LiveKit's default preset asks for, done by ffmpeg with the same file in the same run.
 */
export async function measurePassthrough(
  options: PassthroughRun,
): Promise<{ cores: number; treatment: string; baseline: { name: string; value: number } }> {
  const dir = await mkdtemp(path.join(tmpdir(), 'sluice-bench-rtmp-'));
  try {
    const clip = path.join(dir, 'clip.flv');
    await makeBenchClip(clip, PICTURE, ['-c:a', 'aac', '-b:a', '160k']);
    const baseline = await livekitPresetCores(clip, options.preset);
    return { ...(await ingressCores(clip, options)), baseline };
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

async function ingressCores(
  clip: string,
  { streams, preset, protocol = 'rtmp', ...times }: PassthroughRun,
): Promise<{ cores: number; treatment: string }> {
  const node = await startBenchNode<NodeReply>('rtmp-passthrough-node', [
    String(streams),
    preset === undefined ? '' : IngressVideoEncodingPreset[preset],
    protocol,
  ]);
  const encoders: ChildProcess[] = [];
  let watcher: RoomClient | undefined;
  try {
    const { urls, viewer } = await node.reply('ready');
    if (preset !== undefined) {
      // Layers that nobody watches would not be encoded.
      watcher = await connectRoom({
        ...viewer,
        autoSubscribe: true,
        logger: createLogger({ level: 'error' }),
      });
    }
    for (const url of urls) {
      encoders.push(push(clip, url, CONTAINER[protocol]));
      await delay(ENCODER_SPACING_MS);
    }
    const cores = await node.cores(times);
    node.send({ type: 'report' });
    const { treatments } = await node.reply('result');
    return { cores, treatment: [...new Set(treatments)].join('; ') };
  } finally {
    for (const encoder of encoders) {
      encoder.kill('SIGKILL');
    }
    await watcher?.close('bench over');
    await node.close();
  }
}

function push(clip: string, url: string, container: string): ChildProcess {
  return spawn(
    FFMPEG,
    ['-v', 'error', '-re', '-stream_loop', '-1', '-i', clip, '-c', 'copy', '-f', container, url],
    { stdio: ['ignore', 'ignore', 'inherit'] },
  );
}
