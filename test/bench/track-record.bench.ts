import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createSocket } from 'node:dgram';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DirectFileOutput, EgressStatus, TrackEgressRequest } from '@livekit/protocol';
import { createLogger } from '../../services/base/logger.ts';
import { openFileSink } from '../../services/media/mux/file-sink.ts';
import { createMuxer } from '../../services/media/mux/muxer.ts';
import { connectRoom } from '../../services/rtc-client/room-client.ts';
import type { BenchRow } from '../support/bench-row.ts';
import { encodeClip, publishClip, type Clip } from '../support/clip-publisher.ts';
import { startEgressNode, type EgressNode } from '../support/egress-node.ts';
import { startSfuServer } from '../support/sfu-server.ts';
import { coresOf } from './cores-of.ts';

const FFMPEG = process.env['FFMPEG_PATH'] ?? 'ffmpeg';
/** Long enough for the compiler of both sides to settle. */
const WARM_UP_S = 10;
const MEASURED_S = Number(process.env['BENCH_SECONDS'] ?? 20);
const TIMES = { warmUpS: WARM_UP_S, measuredS: MEASURED_S };
const UNIT = 'CPU s / media s';
const TARGET = 0.01;
const ROOM = 'bench';

/**
 * Recording one published track: everything the handler process does (ICE, SRTP, depacketizing, MP4 or Ogg) against an
 * ffmpeg that receives the same media as plain RTP and does what LiveKit's egress does with it: H.264 is copied, Opus
 * is decoded and encoded again.
 */
export async function bench(): Promise<BenchRow[]> {
  const clip = await encodeClip({
    ...{ width: 1280, height: 720, framesPerSecond: 30, seconds: 10, bitrateKbps: 2000 },
    background: 'motion',
  });
  const server = await startSfuServer();
  const node = await startEgressNode(server);
  try {
    const token = await server.joinToken('publisher', ROOM);
    const publisher = await publishClip({ wsUrl: server.wsUrl, token, clip });
    const rows: BenchRow[] = [];
    for (const { codec, baseline, args } of MEASURED) {
      const track = await trackOf(server.wsUrl, await server.joinToken('looker', ROOM), codec);
      const value = await measureHandler(node, track);
      const name = `track recording, ${codec}`;
      const other = { name: baseline, value: await measureFfmpeg(clip, codec, args) };
      rows.push({ name, value, unit: UNIT, target: TARGET, baseline: other });
    }
    await publisher.close();
    return rows;
  } finally {
    await node.close();
    await server.close();
  }
}

type Codec = 'h264' | 'opus';
const MEASURED: { codec: Codec; baseline: string; args: string[] }[] = [
  { codec: 'h264', baseline: 'ffmpeg, plain RTP, -c copy', args: ['-c', 'copy', '-f', 'mp4'] },
  { codec: 'opus', baseline: 'ffmpeg, plain RTP, decode and encode', args: ['-c:a', 'libopus', '-f', 'ogg'] },
];

/** Id of the track that the publisher publishes in this codec. */
async function trackOf(wsUrl: string, token: string, codec: Codec): Promise<string> {
  const client = await connectRoom({
    url: wsUrl,
    token,
    autoSubscribe: false,
    logger: createLogger({ level: 'silent' }),
  });
  try {
    const track = client.tracks().find((candidate) => candidate.codec === codec);
    if (track === undefined) {
      throw new Error(`nobody publishes ${codec}`);
    }
    return track.trackSid;
  } finally {
    await client.close('seen');
  }
}

async function measureHandler(node: EgressNode, trackId: string): Promise<number> {
  const egressId = `EG_${trackId}`;
  const value = new TrackEgressRequest({
    trackId,
    output: { case: 'file', value: new DirectFileOutput({ filepath: `${trackId}.mp4` }) },
  });
  await node.start(egressId, ROOM, { case: 'track', value });
  await node.reached(egressId, EgressStatus.EGRESS_ACTIVE);
  const pid = node.service.jobs().find((job) => job.egressId === egressId)?.handlerPid ?? 0;
  const cores = await coresOf(() => [pid], TIMES);
  await node.stop(egressId);
  const info = await node.reached(egressId, EgressStatus.EGRESS_COMPLETE);
  const recordedS = Number(info.fileResults[0]?.duration ?? 0) / 1e9;
  if (recordedS < MEASURED_S) {
    throw new Error(`only ${recordedS} s were recorded`);
  }
  return cores;
}

async function measureFfmpeg(clip: Clip, codec: Codec, args: string[]): Promise<number> {
  const dir = await mkdtemp(path.join(tmpdir(), 'sluice-bench-track-'));
  const processes: ChildProcess[] = [];
  const start = (...line: string[]): ChildProcess => {
    const child = spawn(FFMPEG, ['-v', 'error', '-nostdin', ...line], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    processes.push(child);
    return child;
  };
  try {
    const input = await writeTrack(clip, codec, dir);
    const recording = path.join(dir, 'recording');
    const sdp = path.join(dir, 'stream.sdp');
    const address = `rtp://127.0.0.1:${await freeEvenPort()}`;
    start('-re', '-stream_loop', '-1', '-i', input, '-c', 'copy', '-f', 'rtp', '-sdp_file', sdp, address);
    await waitForFile(sdp);
    const receiver = start('-protocol_whitelist', 'file,udp,rtp', '-i', sdp, ...args, recording);
    const cores = await coresOf(() => [receiver.pid ?? 0], TIMES);
    const { size } = await stat(recording);
    if (receiver.exitCode !== null || size === 0) {
      throw new Error(`the baseline did not record ${codec}`);
    }
    return cores;
  } finally {
    await Promise.all(
      processes.map(async (child) => {
        const exited = child.exitCode === null ? once(child, 'exit') : undefined;
        child.kill('SIGKILL');
        await exited;
      }),
    );
    await rm(dir, { recursive: true, force: true });
  }
}

/** One track of the clip as a file that ffmpeg can loop. */
async function writeTrack(clip: Clip, codec: Codec, dir: string): Promise<string> {
  const kind = codec === 'h264' ? 'video' : 'audio';
  const file = path.join(dir, codec === 'h264' ? 'clip.mp4' : 'clip.ogg');
  const muxer = createMuxer({
    container: codec === 'h264' ? 'mp4-fragmented' : 'ogg',
    kinds: [kind],
    sink: await openFileSink(file),
    logger: createLogger({ level: 'silent' }),
    onError: (error) => {
      throw error;
    },
  });
  muxer.addTrack(
    kind === 'video'
      ? { kind, codec: 'h264', width: clip.width, height: clip.height }
      : { kind, codec: 'opus', sampleRateHz: 48_000, channels: 2 },
  );
  for (const packet of clip[kind]) {
    muxer.write({ ...packet, kind, dtsUs: packet.ptsUs });
  }
  await muxer.finish();
  return file;
}

async function waitForFile(file: string): Promise<void> {
  while ((await stat(file).catch(() => undefined)) === undefined) {
    await sleep(50);
  }
}

async function freeEvenPort(): Promise<number> {
  for (;;) {
    const socket = createSocket('udp4').bind(0, '127.0.0.1');
    await once(socket, 'listening');
    const { port } = socket.address();
    socket.close();
    if (port % 2 === 0) {
      return port;
    }
  }
}
