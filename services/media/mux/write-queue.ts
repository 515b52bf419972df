import { ServiceError } from '../../base/errors.ts';
import type { ByteSink } from './muxer-types.ts';

const MAX_PENDING_BYTES = 64_000_000;

/**
 * Serialises writes to a sink without making the caller wait, and bounds what may wait: a disk that stands still
 * fails the recording instead of filling memory.
 */
export class WriteQueue {
  readonly #sink: ByteSink;
  readonly #onError: (error: Error) => void;
  #tail: Promise<void> = Promise.resolve();
  #pendingBytes = 0;
  #bytes = 0;
  #error: Error | undefined;

  constructor(sink: ByteSink, onError: (error: Error) => void) {
    this.#sink = sink;
    this.#onError = onError;
  }

  /** Highest byte position written or queued. */
  get bytes(): number {
    return this.#bytes;
  }

  get failed(): boolean {
    return this.#error !== undefined;
  }

  append(data: Uint8Array): void {
    this.writeAt(data, this.#bytes);
  }

  writeAt(data: Uint8Array, position: number): void {
    if (this.#error !== undefined) {
      return;
    }
    this.#pendingBytes += data.length;
    this.#bytes = Math.max(this.#bytes, position + data.length);
    if (this.#pendingBytes > MAX_PENDING_BYTES) {
      this.#fail(new ServiceError('unavailable', 'the recording disk does not keep up: 64 MB are waiting'));
      return;
    }
    this.#tail = this.#tail.then(async () => {
      if (this.#error === undefined) {
        await this.#sink.write(data, position).catch((error: unknown) => {
          this.#fail(ServiceError.from(error));
        });
      }
      this.#pendingBytes -= data.length;
    });
  }

  /** Waits for all writes, closes the sink. @throws the first write error. */
  async close(): Promise<void> {
    await this.#tail;
    await this.#sink.close();
    if (this.#error !== undefined) {
      throw this.#error;
    }
  }

  #fail(error: Error): void {
    if (this.#error === undefined) {
      this.#error = error;
      this.#onError(error);
    }
  }
}
