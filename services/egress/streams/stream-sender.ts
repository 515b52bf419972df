import { unixNs } from '../../base/clock.ts';
import { messageOf, ServiceError } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import { redactText } from '../../base/redact.ts';
import type { AmfObject } from '../../protocol/amf0.ts';
import { MediaQueue } from './media-queue.ts';
import {
  STREAM_TIMEOUTS,
  type FlvMessage,
  type OpenLink,
  type StreamLink,
  type StreamTimeouts,
} from './stream-link.ts';

/** Eight seconds of 8 Mbit/s; one destination never holds more. */
const QUEUE_LIMITS = { maxBytes: 8_000_000, maxUs: 10_000_000 };
const MAX_BATCH_BYTES = 65_536;
const WATCH_INTERVAL_MS = 500;
/** LiveKit's measure of a stream that works: this much arrived. */
const PROGRESS_BYTES = 4_096;
/** A connection that lasted this long has its own reconnect budget. */
const STEADY_MS = 5_000;
const FIRST_RETRY_MS = 500;
const MAX_RETRY_MS = 5_000;

export type SenderStatus = 'active' | 'finished' | 'failed';

export type SenderFacts = {
  status: SenderStatus;
  /** 0n until the destination took the stream. */
  startedAtNs: bigint;
  endedAtNs: bigint;
  /** '' = none; holds no secret. */
  error: string;
  retries: number;
  lastRetryAtNs: bigint;
};

export type StreamSenderOptions = {
  openLink: OpenLink;
  metadata: () => AmfObject;
  logger: Logger;
  /** Something of `facts` has changed. */
  onChange: () => void;
  timeouts?: Partial<StreamTimeouts>;
};

/**
 * One destination: connects, sends, reconnects within its budget, and gives up. What it cannot send in time it drops;
 * nobody ever waits for it.
 */
export class StreamSender {
  /** Settles when the destination is finished or failed; never rejects. */
  readonly ended: Promise<void>;
  readonly facts: SenderFacts = {
    status: 'active',
    startedAtNs: 0n,
    endedAtNs: 0n,
    error: '',
    retries: 0,
    lastRetryAtNs: 0n,
  };
  readonly #options: StreamSenderOptions;
  readonly #timeouts: StreamTimeouts;
  readonly #queue = new MediaQueue(QUEUE_LIMITS);
  readonly #abort = new AbortController();
  #link: StreamLink | undefined;
  #isWriting = false;
  #isFinishing = false;
  #onDrained: () => void = () => undefined;
  #hasProgressed = false;
  /** performance.now() of the disconnect whose budget is running. */
  #lostAtMs: number | undefined;

  constructor(options: StreamSenderOptions) {
    this.#options = options;
    this.#timeouts = { ...STREAM_TIMEOUTS, ...options.timeouts };
    this.ended = this.#run();
  }

  get droppedMessages(): number {
    return this.#queue.dropped;
  }

  offer(messages: readonly FlvMessage[]): void {
    if (this.#link === undefined || this.#isFinishing) {
      return;
    }
    for (const message of messages) {
      this.#queue.push(message);
    }
    this.#pump();
  }

  /** Sends what is queued, says goodbye, ends as finished. Idempotent. */
  async finish(): Promise<void> {
    this.#isFinishing = true;
    if (this.#link === undefined) {
      this.#abort.abort();
    } else {
      const timer = setTimeout(() => {
        this.#abort.abort();
      }, this.#timeouts.drainMs);
      this.#pump();
      await this.ended;
      clearTimeout(timer);
    }
    await this.ended;
  }

  /** Hangs up at once. Idempotent. */
  async close(): Promise<void> {
    this.#abort.abort();
    await this.ended;
  }

  async #run(): Promise<void> {
    const { logger } = this.#options;
    let retryMs = FIRST_RETRY_MS;
    for (;;) {
      try {
        await this.#serve();
        this.#end('finished');
        return;
      } catch (error) {
        if (this.#abort.signal.aborted || this.#isFinishing) {
          this.#end('finished');
          return;
        }
        const now = performance.now();
        if (this.#lostAtMs === undefined) {
          this.#lostAtMs = now;
          retryMs = FIRST_RETRY_MS;
        }
        const isLost = now + retryMs - this.#lostAtMs > this.#timeouts.reconnectMs;
        if (!this.#hasProgressed || isLost) {
          logger.warn({ err: error }, 'stream failed');
          this.#end('failed', error);
          return;
        }
        logger.warn({ reason: messageOf(error), retryMs }, 'stream interrupted');
        this.facts.retries++;
        this.facts.lastRetryAtNs = unixNs();
        this.#options.onChange();
        await this.#pause(retryMs);
        retryMs = Math.min(retryMs * 2, MAX_RETRY_MS);
      }
    }
  }

  /** One connection, until everything is sent after finish(). @throws why it ended before. */
  async #serve(): Promise<void> {
    const { openLink, metadata, logger } = this.#options;
    const { signal } = this.#abort;
    signal.throwIfAborted();
    const link = await openLink({ signal, metadata, logger });
    if (this.#isFinishing) {
      await link.finish();
      return;
    }
    this.#queue.restart();
    this.#isWriting = false;
    this.#link = link;
    if (this.facts.startedAtNs === 0n) {
      this.facts.startedAtNs = unixNs();
    }
    logger.info({ retries: this.facts.retries }, 'stream connected');
    this.#options.onChange();
    const onAbort = (): void => {
      link.destroy(new ServiceError('canceled', 'the stream was ended'));
    };
    signal.addEventListener('abort', onAbort, { once: true });
    const watch = this.#watch(link);
    try {
      const drained = new Promise<undefined>((resolve) => {
        this.#onDrained = () => {
          resolve(undefined);
        };
      });
      const error = await Promise.race([link.closed, drained]);
      if (error !== undefined) {
        throw error;
      }
      await link.finish();
    } finally {
      clearInterval(watch);
      signal.removeEventListener('abort', onAbort);
      this.#link = undefined;
      this.#hasProgressed ||= link.sentBytes > PROGRESS_BYTES;
    }
  }

  #pump(): void {
    const link = this.#link;
    if (this.#isWriting || link === undefined) {
      return;
    }
    const batch = this.#queue.take(MAX_BATCH_BYTES);
    if (batch.length === 0) {
      if (this.#isFinishing) {
        this.#onDrained();
      }
      return;
    }
    this.#isWriting = true;
    link.write(batch, () => {
      if (this.#link === link) {
        this.#isWriting = false;
        this.#pump();
      }
    });
  }

  /** Notices connections that stay open and take nothing. */
  #watch(link: StreamLink): NodeJS.Timeout {
    const openedAtMs = performance.now();
    let sentBytes = link.sentBytes;
    let progressAtMs = openedAtMs;
    return setInterval(() => {
      const now = performance.now();
      const waits = this.#isWriting || !this.#queue.isEmpty;
      if (link.sentBytes !== sentBytes || !(waits || link.hasUnsent)) {
        sentBytes = link.sentBytes;
        progressAtMs = now;
        if (now - openedAtMs > STEADY_MS && sentBytes > PROGRESS_BYTES) {
          this.#lostAtMs = undefined;
        }
      } else if (now - progressAtMs > this.#timeouts.stallMs) {
        link.destroy(
          new ServiceError(
            'unavailable',
            `stream wedged: nothing was taken for ${this.#timeouts.stallMs / 1000} s`,
            {
              blame: 'destination',
            },
          ),
        );
      }
    }, WATCH_INTERVAL_MS);
  }

  async #pause(timeoutMs: number): Promise<void> {
    const { signal } = this.#abort;
    await new Promise<void>((resolve) => {
      const wake = (): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', wake);
        resolve();
      };
      const timer = setTimeout(wake, timeoutMs);
      signal.addEventListener('abort', wake, { once: true });
    });
  }

  #end(status: 'finished' | 'failed', error?: unknown): void {
    this.facts.status = status;
    this.facts.endedAtNs = unixNs();
    this.facts.error = error === undefined ? '' : redactText(messageOf(error));
    if (this.#queue.dropped > 0) {
      this.#options.logger.warn({ dropped: this.#queue.dropped }, 'stream was too slow for some frames');
    }
    this.#options.onChange();
  }
}
