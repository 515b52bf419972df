import { createLogger } from '../../services/base/logger.ts';
import { openFileSink } from '../../services/media/mux/file-sink.ts';
import { createMuxer } from '../../services/media/mux/muxer.ts';
import type { EncodedPacket, TrackFormat } from '../../services/model/packet.ts';
import { connectRoom } from '../../services/rtc-client/room-client.ts';

/** Tracks are placed by arrival until the first sender report, and then moved together, not faster than 10 %. */
const SETTLE_S = 2.5;

/**
 * Receives the tracks that are published now and writes them to an MP4 file, on the clock the publisher's sender reports
 * give them.
 */
export async function recordTracks(options: {
  wsUrl: string;
  token: string;
  file: string;
  /** All in all, and as long as it takes until a key frame comes. */
  seconds: number;
  /** Left out at the start. */
  settleS?: number;
}): Promise<void> {
  const logger = createLogger({ level: 'silent' });
  const { wsUrl: url, token } = options;
  const client = await connectRoom({ url, token, autoSubscribe: false, logger });
  const kinds = [...new Set(client.tracks().map(({ kind }) => kind))];
  const formats: TrackFormat[] = [];
  const packets: EncodedPacket[] = [];
  const settleS = options.settleS ?? SETTLE_S;
  /** What is kept begins here; a picture can only begin with a key frame. */
  let startUs = Number.POSITIVE_INFINITY;
  await new Promise<void>((resolve, reject) => {
    const take = (packet: EncodedPacket): void => {
      packets.push(packet);
      const settledUs = (packets[0]?.ptsUs ?? 0) + settleS * 1e6;
      const canStart = kinds.includes('video') ? packet.kind === 'video' && packet.key : true;
      if (startUs === Number.POSITIVE_INFINITY && canStart && packet.ptsUs >= settledUs) {
        startUs = packet.ptsUs;
      }
      if (packet.ptsUs - startUs > (options.seconds - settleS) * 1e6) {
        resolve();
      }
    };
    for (const { trackSid } of client.tracks()) {
      client.subscribe(trackSid).then(({ events }) => {
        events.on('format', (format) => formats.push(format));
        events.on('packet', take);
      }, reject);
    }
  });
  await client.close('recorded');
  const muxer = createMuxer({
    ...{ container: 'mp4-fragmented', kinds, logger },
    sink: await openFileSink(options.file),
    onError: (error) => {
      throw error;
    },
  });
  for (const format of formats) {
    muxer.addTrack(format);
  }
  for (const packet of packets.sort((a, b) => a.dtsUs - b.dtsUs)) {
    if (packet.ptsUs < startUs) {
      continue;
    }
    muxer.write(packet);
  }
  await muxer.finish();
}
