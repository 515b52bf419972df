import { openFileSink } from '../../services/media/mux/file-sink.ts';
import { createMuxer } from '../../services/media/mux/muxer.ts';
import { createLogger } from '../../services/base/logger.ts';
import type { EgressSource, SourceEnd } from '../../services/egress/sources/source-types.ts';
import type { Container } from '../../services/media/mux/muxer-types.ts';
import type { EncodedPacket, TrackFormat } from '../../services/model/packet.ts';

export type MediaRecording = {
  kinds: ('video' | 'audio')[];
  formats: TrackFormat[];
  packets: EncodedPacket[];
  /** Resolves when the source ends by itself. */
  ended: Promise<SourceEnd>;
  /** Stops the source and writes the file. */
  finish(): Promise<void>;
};

/** Starts an egress source and writes what it brings to a file, without the rest of the egress service. */
export async function recordSource(
  source: EgressSource,
  file: string,
  signal = new AbortController().signal,
): Promise<MediaRecording> {
  const formats: TrackFormat[] = [];
  const packets: EncodedPacket[] = [];
  source.events.on('format', (format) => formats.push(format));
  source.events.on('packet', (packet) => packets.push(packet));
  const ended = new Promise<SourceEnd>((resolve) => {
    source.events.on('ended', resolve);
  });
  const { kinds } = await source.start(signal);
  return {
    ...{ kinds, formats, packets, ended },
    finish: async () => {
      await source.stop();
      await source.close('test over');
      await writeFile(file, kinds, formats, packets);
    },
  };
}

async function writeFile(
  file: string,
  kinds: ('video' | 'audio')[],
  formats: readonly TrackFormat[],
  packets: readonly EncodedPacket[],
): Promise<void> {
  const container: Container = file.endsWith('.ogg') ? 'ogg' : 'mp4-fragmented';
  const muxer = createMuxer({
    ...{ container, kinds },
    sink: await openFileSink(file),
    logger: createLogger({ level: 'silent' }),
    onError: (error) => {
      throw error;
    },
  });
  for (const format of formats) {
    muxer.addTrack(format);
  }
  for (const packet of [...packets].sort((a, b) => a.dtsUs - b.dtsUs)) {
    muxer.write(packet);
  }
  await muxer.finish();
}
