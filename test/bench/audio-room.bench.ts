import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createSocket } from 'node:dgram';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { EgressStatus, EncodedFileOutput, RoomCompositeEgressRequest } from '@livekit/protocol';
import { createLogger } from '../../services/base/logger.ts';
import { openFileSink } from '../../services/media/mux/file-sink.ts';
import { createMuxer } from '../../services/media/mux/muxer.ts';
import type { BenchRow } from '../support/bench-row.ts';
import { startEgressNode, type EgressNode } from '../support/egress-node.ts';
import { encodeMedia } from '../support/encoded-media.ts';
import { LoopPublisher, type LoopTrack } from '../support/loop-publisher.ts';
import { startSfuServer } from '../support/sfu-server.ts';
import { coresOf } from './cores-of.ts';

const FFMPEG = process.env['FFMPEG_PATH'] ?? 'ffmpeg';
const WARM_UP_S = 10;
const MEASURED_S = Number(process.env['BENCH_SECONDS'] ?? 20);
const TIMES = { warmUpS: WARM_UP_S, measuredS: MEASURED_S };
const TARGET = 0.05;
const ROOM = 'bench';
const TONES_HZ = [330, 440, 660, 990];

/**
 * Recording the mix of a room with four participants: everything the handler process and its ffmpeg do, against an
 * ffmpeg that receives the same four tracks as plain RTP, decodes and mixes them and encodes the same codec.
 */
export async function bench(): Promise<BenchRow[]> {
  const tracks = await Promise.all(
    TONES_HZ.map(async (toneHz) => {
      const { audio } = await encodeMedia({ audio: 'opus', seconds: 10, toneHz });
      if (audio === undefined) {
        throw new Error('fixture is incomplete');
      }
      return audio;
    }),
  );
  const server = await startSfuServer();
  const node = await startEgressNode(server);
  try {
    const publishers: LoopPublisher[] = [];
    for (const [index, track] of tracks.entries()) {
      const publisher = await LoopPublisher.join(server, `singer-${index}`, ROOM);
      await publisher.publish(track);
      publishers.push(publisher);
    }
    const value = await measureHandler(node);
    await Promise.all(publishers.map((publisher) => publisher.close()));
    const name = 'ffmpeg, plain RTP: 4 decoders, amix, one encoder';
    const baseline = { name, value: await measureFfmpeg(tracks) };
    const unit = 'CPU s / media s';
    return [{ name: 'audio-only room composite, 4 participants', value, unit, target: TARGET, baseline }];
  } finally {
    await node.close();
    await server.close();
  }
}

async function measureHandler(node: EgressNode): Promise<number> {
  const egressId = 'EG_bench';
  const value = new RoomCompositeEgressRequest({
    ...{ roomName: ROOM, audioOnly: true },
    fileOutputs: [new EncodedFileOutput({ filepath: 'bench.ogg' })],
  });
  await node.start(egressId, ROOM, { case: 'roomComposite', value });
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

async function measureFfmpeg(tracks: readonly LoopTrack[]): Promise<number> {
  const dir = await mkdtemp(path.join(tmpdir(), 'sluice-bench-mix-'));
  const processes: ChildProcess[] = [];
  const start = (...line: string[]): ChildProcess => {
    const child = spawn(FFMPEG, ['-v', 'error', '-nostdin', ...line], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    processes.push(child);
    return child;
  };
  try {
    const inputs: string[] = [];
    for (const [index, track] of tracks.entries()) {
      const input = await writeTrack(track, path.join(dir, `${index}.ogg`));
      const sdp = path.join(dir, `${index}.sdp`);
      const address = `rtp://127.0.0.1:${await freeEvenPort()}`;
      start('-re', '-stream_loop', '-1', '-i', input, '-c', 'copy', '-f', 'rtp', '-sdp_file', sdp, address);
      while ((await stat(sdp).catch(() => undefined)) === undefined) {
        await sleep(50);
      }
      inputs.push('-protocol_whitelist', 'file,udp,rtp', '-i', sdp);
    }
    const recording = path.join(dir, 'mix.ogg');
    const filter = `amix=inputs=${tracks.length}:normalize=0`;
    const args = ['-filter_complex', filter, '-c:a', 'libopus', '-b:a', '128k', '-ac', '2', recording];
    const mixer = start(...inputs, ...args);
    const cores = await coresOf(() => [mixer.pid ?? 0], TIMES);
    const { size } = await stat(recording);
    if (mixer.exitCode !== null || size === 0) {
      throw new Error('the baseline did not record');
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

async function writeTrack(track: LoopTrack, file: string): Promise<string> {
  const muxer = createMuxer({
    ...{ container: 'ogg', kinds: ['audio'] },
    sink: await openFileSink(file),
    logger: createLogger({ level: 'silent' }),
    onError: (error) => {
      throw error;
    },
  });
  muxer.addTrack(track.format);
  for (const packet of track.packets) {
    muxer.write(packet);
  }
  await muxer.finish();
  return file;
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
