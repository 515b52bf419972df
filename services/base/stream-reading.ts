import { readSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { TLSSocket } from 'node:tls';

/** What Node's sockets and pipes put in front of libuv; the same in all versions since 0.12. */
type Handle = { readStart: () => number; readStop: () => number; fd?: unknown };

/** The most that take() gives at once. */
export const TAKE_BYTES = 262_144;
/** One for all: what it holds is used up before anything else is read. */
const taken = Buffer.allocUnsafeSlow(TAKE_BYTES);

/**
 * Stops a socket or pipe from being read at all, so that data piles up in the kernel and the process sleeps on.
 * `pause()` does not: it goes on reading until Node's own buffer is full, and wakes for every piece. Do not mix the two:
 * the stream itself goes on believing that it is being read. One without a handle (in tests) is paused as usual.
 *
 * Starting and stopping has its price: libuv notices only when something comes that nobody wants it any more, which is one
 * more wake-up for every stop. Who knows when to look stays stopped and takes what is there.
 */
export class StreamReading {
  readonly #stream: Readable;
  #stopped = false;

  constructor(stream: Readable) {
    this.#stream = stream;
  }

  stop(): void {
    if (this.#stopped) {
      return;
    }
    this.#stopped = true;
    const handle = this.#handle();
    if (handle === undefined) {
      this.#stream.pause();
    } else {
      handle.readStop();
    }
  }

  start(): void {
    if (!this.#stopped) {
      return;
    }
    this.#stopped = false;
    const handle = this.#handle();
    if (handle === undefined) {
      this.#stream.resume();
    } else if (handle.readStart() !== 0) {
      this.#stream.destroy();
    }
  }

  /**
   * While stopped: what the kernel has collected, valid until anybody's next take(). Undefined when there is nothing, and
   * when the stream has ended, failed, or cannot be read in this way (TLS): start() finds out which.
   */
  take(): Buffer | undefined {
    const fd = this.#handle()?.fd;
    if (!this.#stopped || this.#stream instanceof TLSSocket || typeof fd !== 'number' || fd < 0) {
      return undefined;
    }
    try {
      const length = readSync(fd, taken);
      return length === 0 ? undefined : taken.subarray(0, length);
    } catch {
      return undefined; // EAGAIN most of the time
    }
  }

  #handle(): Handle | undefined {
    const handle: unknown = Reflect.get(this.#stream, '_handle');
    return typeof handle === 'object' && handle !== null && 'readStop' in handle
      ? (handle as Handle)
      : undefined;
  }
}
