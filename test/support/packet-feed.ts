import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { ALL_FORMATS, EncodedPacketSink, FilePathSource, Input } from 'mediabunny';
import { flashBeepInputs, passthroughH264 } from '../../fixtures/flash-beep.ts';
import { parseAvcConfig } from '../../services/media/codecs/h264-avcc.ts';
import { joinAnnexB, splitLengthPrefixed } from '../../services/media/codecs/h264.ts';
import type { AudioFormat, EncodedPacket, VideoFormat } from '../../services/model/packet.ts';

const TICK_MS = 5;
const START_US = 5_000_000;

/** The flash/beep picture as the packets of an egress job: H.264 in Annex B and raw AAC, in the order of their times. */
export type FlashBeepPackets = {
  formats: [VideoFormat, AudioFormat];
  packets: EncodedPacket[];
  framesPerSecond: number;
  /** The file the packets came from, as the truth to compare with. */
  file: string;
  remove(): Promise<void>;
};

export async function flashBeepPackets(options: {
  seconds: number;
  keyIntervalS?: number;
  width?: number;
  height?: number;
  bitrateKbps?: number;
}): Promise<FlashBeepPackets> {
  const { seconds, keyIntervalS = 1, width = 640, height = 360, bitrateKbps = 1500 } = options;
  const framesPerSecond = 30;
  const folder = await mkdtemp(path.join(tmpdir(), 'sluice-feed-'));
  const file = path.join(folder, 'source.mp4');
  await promisify(execFile)('ffmpeg', [
    ...[
      '-v',
      'error',
      '-y',
      ...flashBeepInputs({ width, height, framesPerSecond, realTime: false, background: 'motion' }),
    ],
    ...['-t', String(seconds), ...passthroughH264({ framesPerSecond, bitrateKbps })],
    ...['-g', String(keyIntervalS * framesPerSecond), '-keyint_min', String(keyIntervalS * framesPerSecond)],
    ...['-c:a', 'aac', '-b:a', '96k', '-ac', '2', file],
  ]);
  const input = new Input({ source: new FilePathSource(file), formats: ALL_FORMATS });
  const video = await input.getPrimaryVideoTrack();
  const audio = await input.getPrimaryAudioTrack();
  if (video === null || audio === null) {
    throw new Error('the clip lacks a track');
  }
  const { sps, pps, lengthSize } = parseAvcConfig(
    (await video.getDecoderConfig())?.description as Uint8Array,
  );
  const packets: EncodedPacket[] = [];
  for (const [kind, track] of [['video', video] as const, ['audio', audio] as const]) {
    for await (const packet of new EncodedPacketSink(track).packets()) {
      const key = packet.type === 'key';
      const ptsUs = Math.round(packet.timestamp * 1e6) + START_US;
      const nals = kind === 'video' ? splitLengthPrefixed(packet.data, lengthSize) : [];
      const data = kind === 'audio' ? packet.data : joinAnnexB(key ? [...sps, ...pps, ...nals] : nals);
      packets.push({ kind, ptsUs, dtsUs: ptsUs, durationUs: Math.round(packet.duration * 1e6), key, data });
    }
  }
  packets.sort((a, b) => a.dtsUs - b.dtsUs);
  const description = new Uint8Array((await audio.getDecoderConfig())?.description as Uint8Array);
  input.dispose();
  return {
    formats: [
      { kind: 'video', codec: 'h264', width, height },
      { kind: 'audio', codec: 'aac', sampleRateHz: 48_000, channels: 2, description },
    ],
    packets,
    framesPerSecond,
    file,
    remove: () => rm(folder, { recursive: true, force: true }),
  };
}

/** Hands packets over at their own pace; resolves at the last one. */
export async function playPackets(
  packets: readonly EncodedPacket[],
  write: (packet: EncodedPacket) => void,
): Promise<void> {
  const startMs = performance.now();
  const firstUs = packets[0]?.dtsUs ?? 0;
  let next = 0;
  await new Promise<void>((resolve) => {
    const timer = setInterval(() => {
      const nowUs = firstUs + (performance.now() - startMs) * 1000;
      for (
        let packet = packets[next];
        packet !== undefined && packet.dtsUs <= nowUs;
        packet = packets[next]
      ) {
        next++;
        write(packet);
      }
      if (next >= packets.length) {
        clearInterval(timer);
        resolve();
      }
    }, TICK_MS);
  });
}
