import { ServiceError } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import { MatroskaReader, type MatroskaPacket } from '../../media/ffmpeg/matroska-reader.ts';
import { spawnFfmpeg, type FfmpegExit } from '../../media/ffmpeg/run.ts';

export type FfmpegPacketsOptions = {
  ffmpegPath: string;
  /** Writes Matroska to stdout. */
  args: readonly string[];
  env: Readonly<Record<string, string>>;
  logger: Logger;
  signal: AbortSignal;
  /** An input that yields nothing for so long, while somebody waits for it, has failed. */
  stallMs: number;
};

/** What the C library calls a connection that failed; ffmpeg reports it and ends as if all were well. */
const BROKEN =
  /: (Input\/output error|Connection (?:reset by peer|timed out|refused)|Broken pipe|No route to host|Network is unreachable|Operation timed out|Server returned .*|Invalid data found .*)$/;

/**
 * The packets of one run of ffmpeg, read as they are taken. The run ends with its consumer.
 * @throws ServiceError unavailable, blaming the input: it stalled, broke off, or cannot be read.
 */
export async function* ffmpegPackets(options: FfmpegPacketsOptions): AsyncGenerator<MatroskaPacket, void> {
  const { stallMs, signal } = options;
  const ffmpeg = spawnFfmpeg(options);
  ffmpeg.stdin.end();
  const reader = new MatroskaReader();
  const chunks = ffmpeg.stdout[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  const stall = new AbortController();
  try {
    for (;;) {
      const timer = setTimeout(() => {
        stall.abort();
        void ffmpeg.kill(0);
      }, stallMs);
      const chunk = await chunks.next();
      clearTimeout(timer);
      if (chunk.done === true) {
        break;
      }
      yield* reader.push(chunk.value);
    }
    const exit = await ffmpeg.exited;
    signal.throwIfAborted();
    if (stall.signal.aborted) {
      throw failed(`the input has sent nothing for ${stallMs / 1000} s`);
    }
    const reason = failureOf(exit);
    if (reason !== undefined) {
      throw failed(`the URL cannot be played: ${reason}`);
    }
  } finally {
    await ffmpeg.kill(500);
  }
}

function failureOf({ exitCode, signal, stderrTail }: FfmpegExit): string | undefined {
  const last = (stderrTail.trim().split('\n').at(-1) ?? '').slice(0, 300);
  if (exitCode === 0) {
    return BROKEN.test(last) ? last : undefined;
  }
  return (
    last || (signal === null ? `ffmpeg ended with exit code ${String(exitCode)}` : `ffmpeg got ${signal}`)
  );
}

function failed(message: string): ServiceError {
  return new ServiceError('unavailable', message, { blame: 'destination' });
}
