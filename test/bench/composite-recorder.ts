import { openFileSink } from '../../services/media/mux/file-sink.ts';
import { createMuxer } from '../../services/media/mux/muxer.ts';
import { createLogger } from '../../services/base/logger.ts';
import { createPageSource } from '../../services/egress/sources/page-source.ts';
import type { PageSourceOptions } from '../../services/egress/sources/page-source-types.ts';

/** A child process that records one page into an MP4 until it is asked to stop, as an egress handler does. */
const { file, ...options } = JSON.parse(process.argv[2] ?? '{}') as Omit<PageSourceOptions, 'logger'> & {
  file: string;
};
const logger = createLogger({ level: 'warn' });
const source = createPageSource({ ...options, logger });
const muxer = createMuxer({
  container: 'mp4-fragmented',
  kinds: ['video', 'audio'],
  sink: await openFileSink(file),
  logger,
  onError: (error) => {
    throw error;
  },
});
source.events.on('format', (format) => {
  muxer.addTrack(format);
});
source.events.on('packet', (packet) => {
  muxer.write(packet);
});
await source.start(new AbortController().signal);
process.send?.('recording');
process.once('message', () => {
  void finish();
});

async function finish(): Promise<void> {
  await source.stop();
  await muxer.finish();
  await source.close('bench over');
  process.disconnect();
}
