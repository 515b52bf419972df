import { DirectFileOutput, TrackEgressRequest } from '@livekit/protocol';
import { createLogger } from '../../services/base/logger.ts';
import type { EncodedPacket, TrackFormat } from '../../services/model/packet.ts';
import { connectRoom } from '../../services/rtc-client/room-client.ts';
import type { BenchRow } from '../support/bench-row.ts';
import { encodeClip, publishClip, type Clip } from '../support/clip-publisher.ts';
import { startEgressNode } from '../support/egress-node.ts';
import { startSfuServer } from '../support/sfu-server.ts';
import { plainRtpCores } from './plain-rtp.ts';
import { recordingCores } from './recording-cores.ts';

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
      const request = new TrackEgressRequest({
        trackId: track,
        output: { case: 'file', value: new DirectFileOutput({ filepath: `${track}.mp4` }) },
      });
      const job = {
        egressId: `EG_${track}`,
        room: ROOM,
        request: { case: 'track', value: request },
      } as const;
      const value = await recordingCores(node, job, TIMES);
      const name = `track recording, ${codec}`;
      const other = { name: baseline, value: await plainRtpCores([trackOfClip(clip, codec)], args, TIMES) };
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

/** One track of the clip as it was encoded. */
function trackOfClip(clip: Clip, codec: Codec): { format: TrackFormat; packets: EncodedPacket[] } {
  const kind = codec === 'h264' ? 'video' : 'audio';
  const format: TrackFormat =
    kind === 'video'
      ? { kind, codec: 'h264', width: clip.width, height: clip.height }
      : { kind, codec: 'opus', sampleRateHz: 48_000, channels: 2 };
  return { format, packets: clip[kind].map((packet) => ({ ...packet, kind, dtsUs: packet.ptsUs })) };
}
