import { EncodedFileOutput, RoomCompositeEgressRequest } from '@livekit/protocol';
import type { BenchRow } from '../support/bench-row.ts';
import { startEgressNode } from '../support/egress-node.ts';
import { encodeMedia } from '../support/encoded-media.ts';
import { LoopPublisher } from '../support/loop-publisher.ts';
import { startSfuServer } from '../support/sfu-server.ts';
import { plainRtpCores } from './plain-rtp.ts';
import { recordingCores } from './recording-cores.ts';

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
    const request = new RoomCompositeEgressRequest({
      ...{ roomName: ROOM, audioOnly: true },
      fileOutputs: [new EncodedFileOutput({ filepath: 'bench.ogg' })],
    });
    const job = {
      egressId: 'EG_bench',
      room: ROOM,
      request: { case: 'roomComposite', value: request },
    } as const;
    const value = await recordingCores(node, job, TIMES);
    await Promise.all(publishers.map((publisher) => publisher.close()));
    const name = 'ffmpeg, plain RTP: 4 decoders, amix, one encoder';
    const filter = `amix=inputs=${tracks.length}:normalize=0`;
    const encode = ['-c:a', 'libopus', '-b:a', '128k', '-ac', '2', '-f', 'ogg'];
    const args = ['-filter_complex', filter, ...encode];
    const baseline = { name, value: await plainRtpCores(tracks, args, TIMES) };
    const unit = 'CPU s / media s';
    return [{ name: 'audio-only room composite, 4 participants', value, unit, target: TARGET, baseline }];
  } finally {
    await node.close();
    await server.close();
  }
}
