import { ServiceError } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import { spawnFfmpeg, type FfmpegExit } from '../../media/ffmpeg/run.ts';

export type FfmpegOutputOptions = {
  ffmpegPath: string;
  /** Writes to stdout. */
  args: readonly string[];
  env: Readonly<Record<string, string>>;
  logger: Logger;
  signal: AbortSignal;
  /** An input that yields nothing for so long, while somebody waits for it, has failed. */
  stallMs: number;
  /** Gets what it writes on file descriptor 3, which is open only then. */
  onData?: (bytes: Buffer) => void;
  /** What it reads on stdin; default: nothing. */
  input?: AsyncIterable<Buffer>;
  /** How the error begins; default: the URL cannot be played. */
  whatFails?: string;
};

/** What the C library calls a connection that failed; ffmpeg reports it and ends as if all were well. */
const BROKEN =
  /: (Input\/output error|Connection (?:reset by peer|timed out|refused)|Broken pipe|No route to host|Network is unreachable|Operation timed out|Server returned .*|Invalid data found .*)$/;

/**
 * What one run of ffmpeg writes, read as it is taken. The run ends with its consumer.
 * @throws ServiceError unavailable, blaming the input: it stalled, broke off, or cannot be read.
 */
export async function* ffmpegOutput(options: FfmpegOutputOptions): AsyncGenerator<Buffer, void> {
  const { stallMs, signal, input, onData, whatFails = 'the URL cannot be played' } = options;
  const ffmpeg = spawnFfmpeg({ ...options, ...(onData === undefined ? {} : { extraOutputs: 1 }) });
  if (onData !== undefined) {
    ffmpeg.outputs[1]?.on('data', onData).on('error', () => undefined);
  }
  const feeding = input === undefined ? undefined : feed(input, ffmpeg.stdin);
  if (feeding === undefined) {
    ffmpeg.stdin.end();
  }
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
      yield chunk.value;
    }
    const exit = await ffmpeg.exited;
    signal.throwIfAborted();
    const failure = await feeding;
    if (failure !== undefined) {
      throw failure;
    }
    if (stall.signal.aborted) {
      throw failed(`the input has sent nothing for ${stallMs / 1000} s`);
    }
    const reason = failureOf(exit);
    if (reason !== undefined) {
      throw failed(`${whatFails}: ${reason}`);
    }
  } finally {
    await ffmpeg.kill(500);
  }
}

/** @returns why the input ended, when it did not end well. */
async function feed(
  input: AsyncIterable<Buffer>,
  stdin: NodeJS.WritableStream & { readonly destroyed?: boolean },
): Promise<Error | undefined> {
  try {
    for await (const chunk of input) {
      if (stdin.destroyed === true) {
        return undefined;
      }
      stdin.write(chunk);
    }
    return undefined;
  } catch (error) {
    return ServiceError.from(error);
  } finally {
    stdin.end();
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
