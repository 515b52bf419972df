import { spawn, type ChildProcess } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createLogger } from '../../services/base/logger.ts';
import { openFileSink } from '../../services/media/mux/file-sink.ts';
import { createMuxer } from '../../services/media/mux/muxer.ts';
import type { EncodedPacket, TrackFormat } from '../../services/model/packet.ts';
import { coresOf } from './cores-of.ts';

const FFMPEG = process.env['FFMPEG_PATH'] ?? 'ffmpeg';

/**
 * The baseline of recording benches: an ffmpeg that records tracks which others send it as plain RTP in real time. Only
 * the one that records is measured.
 * @param args what it does with its inputs, the file's name left out
 */
export async function plainRtpCores(
  tracks: readonly { format: TrackFormat; packets: readonly EncodedPacket[] }[],
  args: readonly string[],
  times: { warmUpS: number; measuredS: number },
): Promise<number> {
  const dir = await mkdtemp(path.join(tmpdir(), 'sluice-bench-rtp-'));
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
      const input = await writeTrack(track, path.join(dir, String(index)));
      const sdp = path.join(dir, `${index}.sdp`);
      const address = `rtp://127.0.0.1:${await freeEvenPort()}`;
      start('-re', '-stream_loop', '-1', '-i', input, '-c', 'copy', '-f', 'rtp', '-sdp_file', sdp, address);
      while ((await stat(sdp).catch(() => undefined)) === undefined) {
        await sleep(50);
      }
      inputs.push('-protocol_whitelist', 'file,udp,rtp', '-i', sdp);
    }
    const recording = path.join(dir, 'recording');
    const recorder = start(...inputs, ...args, recording);
    const cores = await coresOf(() => [recorder.pid ?? 0], times);
    const { size } = await stat(recording);
    if (recorder.exitCode !== null || size === 0) {
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

/** One track as a file that ffmpeg can loop; it does not go by its name. */
async function writeTrack(
  { format, packets }: { format: TrackFormat; packets: readonly EncodedPacket[] },
  file: string,
): Promise<string> {
  const muxer = createMuxer({
    container: format.kind === 'video' ? 'mp4-fragmented' : 'ogg',
    kinds: [format.kind],
    sink: await openFileSink(file),
    logger: createLogger({ level: 'silent' }),
    onError: (error) => {
      throw error;
    },
  });
  muxer.addTrack(format);
  for (const packet of packets) {
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
