import { Redis } from 'ioredis';
import type { ClientOptions } from './redis-options.ts';

/** A broken network does not say so: without this a dead subscriber looks like a quiet one. */
const HEARTBEAT_MS = 3_000;
const SUBSCRIBE_BATCH = 500;

export type RedisPairEvents = {
  onMessage: (channel: string, payload: Buffer) => void;
  /** Once, after a successful open. */
  onLost: (cause: unknown) => void;
};

/** A connection for commands and one for subscriptions; when one ends, so does the other. Used once. */
export class RedisPair {
  readonly commands: Redis;
  readonly subscriber: Redis;
  readonly #events: RedisPairEvents;
  #cause: unknown;
  #heartbeat: NodeJS.Timeout | undefined;
  #isOver = false;

  constructor(options: ClientOptions, events: RedisPairEvents) {
    this.#events = events;
    this.commands = new Redis(options);
    this.subscriber = new Redis(options);
    for (const redis of [this.commands, this.subscriber]) {
      redis.on('error', (error: unknown) => (this.#cause = error));
    }
    this.subscriber.on('messageBuffer', (channel: Buffer, payload: Buffer) => {
      events.onMessage(channel.toString(), payload);
    });
  }

  /**
   * Connects and subscribes to all channels, also those that are added meanwhile. Returns which those were.
   * @throws what the connection ended with.
   */
  async open(channels: () => string[], timeoutMs: number, signal: AbortSignal): Promise<Set<string>> {
    let subscribed: Set<string>;
    const abandon = (): void => this.abandon();
    const timer = setTimeout(() => {
      this.#cause ??= new Error('no answer');
      this.abandon();
    }, timeoutMs);
    signal.addEventListener('abort', abandon, { once: true });
    try {
      signal.throwIfAborted();
      await Promise.all([this.commands.connect(), this.subscriber.connect()]);
      subscribed = await this.#subscribeAll(channels);
      signal.throwIfAborted();
    } catch (error) {
      this.abandon();
      throw this.#cause ?? error;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', abandon);
    }
    for (const redis of [this.commands, this.subscriber]) {
      redis.once('close', () => this.#lose(this.#cause));
    }
    this.#heartbeat = setInterval(() => void this.#checkAlive(), HEARTBEAT_MS).unref();
    return subscribed;
  }

  /** Ends both at once, without a word. */
  abandon(): void {
    this.#isOver = true;
    clearInterval(this.#heartbeat);
    this.commands.disconnect();
    this.subscriber.disconnect();
  }

  /** Ends both after what was sent is done. */
  async close(): Promise<void> {
    this.#isOver = true;
    clearInterval(this.#heartbeat);
    await Promise.allSettled([this.commands.quit(), this.subscriber.quit()]);
    this.abandon();
  }

  async #subscribeAll(channels: () => string[]): Promise<Set<string>> {
    const done = new Set<string>();
    for (;;) {
      const missing = channels().filter((channel) => !done.has(channel));
      if (missing.length === 0) {
        return done;
      }
      for (let start = 0; start < missing.length; start += SUBSCRIBE_BATCH) {
        await this.subscriber.subscribe(...missing.slice(start, start + SUBSCRIBE_BATCH));
      }
      missing.forEach((channel) => done.add(channel));
    }
  }

  async #checkAlive(): Promise<void> {
    try {
      await Promise.all([this.commands.ping(), this.subscriber.ping()]);
    } catch (error) {
      this.#lose(error);
    }
  }

  #lose(cause: unknown): void {
    if (!this.#isOver) {
      this.abandon();
      this.#events.onLost(cause);
    }
  }
}
