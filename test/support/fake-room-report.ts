import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import {
  BufferTarget,
  EncodedAudioPacketSource,
  EncodedPacket as MediabunnyPacket,
  EncodedVideoPacketSource,
  MkvOutputFormat,
  Output,
} from 'mediabunny';
import type { FakeRoom, FakeTrack } from './fake-room.ts';
import { analyzeFlashBeep, type FlashBeepReport } from './flash-beep.ts';

const VIDEO = {
  h264: ['avc', 'avc1.42e01f'],
  vp8: ['vp8', 'vp8'],
  vp9: ['vp9', 'vp09.00.10.08'],
  av1: ['av1', 'av01.0.04M.08'],
} as const;

/** Decodes all that was published into the room, each packet at the time it was given, and measures it. */
export function reportOf(room: FakeRoom): Promise<FlashBeepReport> {
  return withPublished(room, analyzeFlashBeep);
}

/** All that was published into the room as a file, for the time of a look at it. */
export async function withPublished<T>(room: FakeRoom, look: (file: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(path.join(tmpdir(), 'sluice-published-'));
  const file = path.join(folder, 'published.mkv');
  try {
    await writeFile(file, await matroskaOf(room.tracks));
    return await look(file);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function matroskaOf(tracks: readonly FakeTrack[]): Promise<Uint8Array> {
  const target = new BufferTarget();
  const output = new Output({ format: new MkvOutputFormat(), target });
  const baseUs = Math.min(...tracks.flatMap(({ packets }) => packets.slice(0, 1).map(({ ptsUs }) => ptsUs)));
  const writers = tracks.map((track) => writerOf(output, track));
  await output.start();
  await Promise.all(
    tracks.map(async ({ packets }, index) => {
      for (const packet of packets) {
        const type = packet.key ? 'key' : 'delta';
        const timeS = (packet.ptsUs - baseUs) / 1e6;
        await writers[index]?.(new MediabunnyPacket(packet.data, type, timeS, packet.durationUs / 1e6));
      }
    }),
  );
  await output.finalize();
  return new Uint8Array(target.buffer ?? new ArrayBuffer(0));
}

function writerOf(output: Output, { options }: FakeTrack): (packet: MediabunnyPacket) => Promise<void> {
  const { format } = options;
  if (format.kind === 'audio') {
    const source = new EncodedAudioPacketSource('opus');
    output.addAudioTrack(source);
    const decoderConfig = { codec: 'opus', sampleRate: 48_000, numberOfChannels: format.channels };
    return (packet) => source.add(packet, { decoderConfig });
  }
  const { codec, width, height } = format;
  if (codec === 'h265') {
    throw new Error('no test looks at HEVC yet');
  }
  const [name, codecString] = VIDEO[codec];
  const source = new EncodedVideoPacketSource(name);
  output.addVideoTrack(source);
  const decoderConfig = { codec: codecString, codedWidth: width, codedHeight: height };
  return (packet) => source.add(packet, { decoderConfig });
}
