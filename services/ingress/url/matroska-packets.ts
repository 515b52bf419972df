import { MatroskaReader, type MatroskaPacket } from '../../media/ffmpeg/matroska-reader.ts';
import type { IngressSettings } from '../../model/ingress.ts';
import { ffmpegOutput, type FfmpegOutputOptions } from './ffmpeg-output.ts';
import { isDeliverable } from './media-packet.ts';
import { convertArgs } from './read-plan.ts';

type Run = Omit<FfmpegOutputOptions, 'args' | 'input'>;

/** The packets of one run of ffmpeg that writes Matroska. @throws as ffmpegOutput. */
export async function* packetsOf(options: FfmpegOutputOptions): AsyncGenerator<MatroskaPacket, void> {
  yield* parse(ffmpegOutput(options));
}

/**
 * The packets of a live input, untouched. It is opened once, without a look before: what a session cannot take is
 * converted by a second ffmpeg behind the first. @param args of the first, which writes Matroska. @throws as ffmpegOutput.
 */
export async function* livePackets(
  args: readonly string[],
  settings: Pick<IngressSettings, 'video' | 'audio'>,
  run: Run,
): AsyncGenerator<MatroskaPacket, void> {
  const source = ffmpegOutput({ ...run, args });
  try {
    const { header, tracks } = await readHeader(source);
    const bytes = chain(header, source);
    if (tracks.every(isDeliverable)) {
      yield* parse(bytes);
    } else {
      const { logger } = run;
      logger.info({ codecs: tracks.map(({ codecId }) => codecId) }, 'live input is converted');
      yield* packetsOf({ ...run, args: convertArgs(tracks, settings), input: bytes });
    }
  } finally {
    await source.return();
  }
}

async function readHeader(
  source: AsyncIterator<Buffer>,
): Promise<{ header: Buffer[]; tracks: NonNullable<MatroskaReader['tracks']> }> {
  const reader = new MatroskaReader();
  const header: Buffer[] = [];
  for (;;) {
    const chunk = await source.next();
    if (chunk.done === true) {
      return { header, tracks: [] };
    }
    header.push(chunk.value);
    reader.push(chunk.value);
    if (reader.tracks !== undefined) {
      return { header, tracks: reader.tracks };
    }
  }
}

async function* chain(first: readonly Buffer[], rest: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void> {
  yield* first;
  yield* rest;
}

async function* parse(bytes: AsyncIterable<Buffer>): AsyncGenerator<MatroskaPacket, void> {
  const reader = new MatroskaReader();
  for await (const chunk of bytes) {
    yield* reader.push(chunk);
  }
}
