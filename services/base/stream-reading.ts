import type { Readable } from 'node:stream';

/** What Node's sockets and pipes put in front of libuv; the same in all versions since 0.12. */
type Handle = { readStart: () => number; readStop: () => number };

/**
 * Stops a socket or pipe from being read at all, so that data piles up in the kernel and the process sleeps on.
 * `pause()` does not: it goes on reading until Node's own buffer is full, and wakes for every piece. Do not mix the two:
 * the stream itself goes on believing that it is being read. One without a handle (in tests) is paused as usual.
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

  #handle(): Handle | undefined {
    const handle: unknown = Reflect.get(this.#stream, '_handle');
    return typeof handle === 'object' && handle !== null && 'readStop' in handle
      ? (handle as Handle)
      : undefined;
  }
}
