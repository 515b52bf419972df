import type { Redis } from 'ioredis';
import { messageOf, ServiceError } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import { connectionLost, isRefusedSignIn, mustReconnect, redisError, wasNotSent } from './redis-errors.ts';
import { RedisPair } from './redis-pair.ts';
import type { RedisTarget } from './redis-options.ts';

export type RedisState = 'connecting' | 'ready' | 'reconnecting' | 'closed';
export type RedisHealth = {
  state: RedisState;
  /** host:port or the sentinels' names. */
  address: string;
  /** Since when the state is what it is, ms since the epoch. */
  sinceMs: number;
  /** Why there is no connection. */
  lastError?: string;
};
export type RedisConnectionOptions = {
  target: RedisTarget;
  logger: Logger;
  /** How long the first connection may take. */
  connectTimeoutMs: number;
  signal?: AbortSignal | undefined;
};

type Subscription = { listeners: Set<Listener>; subscribed: Promise<void> };
type Listener = (payload: Buffer) => void;
type Waiter = { resolve: (pair: RedisPair) => void; reject: (error: ServiceError) => void };

const FIRST_RETRY_MS = 50;
/** Short, because leases of running jobs end when their owner stays away. */
const MAX_RETRY_MS = 1_000;
const ATTEMPT_TIMEOUT_MS = 8_000;
const DEFAULT_WAIT_MS = 5_000;

/**
 * Two connections to one Redis, for commands and for subscriptions, that live and die together. When either
 * fails, both are replaced, with growing pauses, and everything is subscribed again before it counts as ready.
 */
export class RedisConnection {
  readonly #target: RedisTarget;
  readonly #logger: Logger;
  readonly #subscriptions = new Map<string, Subscription>();
  readonly #waiters = new Set<Waiter>();
  readonly #observers = new Set<(state: RedisState) => void>();
  readonly #closing = new AbortController();
  #pair: RedisPair | undefined;
  #state: RedisState = 'connecting';
  #sinceMs = Date.now();
  #lastError: unknown;
  #reconnecting: Promise<void> | undefined;

  private constructor(target: RedisTarget, logger: Logger) {
    this.#target = target;
    this.#logger = logger;
  }

  /** @throws ServiceError unavailable naming the address; unauthenticated when Redis refuses the password. */
  static async open(options: RedisConnectionOptions): Promise<RedisConnection> {
    const { target, logger, connectTimeoutMs, signal } = options;
    const connection = new RedisConnection(target, logger);
    const deadlineMs = Date.now() + connectTimeoutMs;
    for (let retryMs = FIRST_RETRY_MS; ; retryMs = Math.min(retryMs * 2, MAX_RETRY_MS)) {
      try {
        await connection.#connect(Math.max(1, deadlineMs - Date.now()));
        return connection;
      } catch (error) {
        const isLast = isRefusedSignIn(error) || Date.now() + retryMs >= deadlineMs;
        if (isLast || signal?.aborted === true) {
          await connection.close();
          throw signal?.aborted === true
            ? new ServiceError('canceled', `connecting to Redis at ${target.label} was canceled`)
            : redisError(target.label, error, `did not become ready within ${connectTimeoutMs} ms`);
        }
      }
      await pause(retryMs, signal);
    }
  }

  get address(): string {
    return this.#target.label;
  }

  health(): RedisHealth {
    return {
      state: this.#state,
      address: this.address,
      sinceMs: this.#sinceMs,
      ...(this.#state === 'ready' || this.#lastError === undefined
        ? {}
        : { lastError: messageOf(this.#lastError) }),
    };
  }

  get state(): RedisState {
    return this.#state;
  }

  /** Called on every change of state. Returns the function that ends it. */
  observe(observer: (state: RedisState) => void): () => void {
    this.#observers.add(observer);
    return () => this.#observers.delete(observer);
  }

  /**
   * Runs commands, after waiting at most waitMs for a connection. Commands in flight when it is lost may or may
   * not have happened.
   * @throws ServiceError unavailable without connection; internal when Redis refuses a command.
   */
  async run<T>(work: (redis: Redis) => Promise<T>, waitMs = DEFAULT_WAIT_MS): Promise<T> {
    const endsAtMs = Date.now() + waitMs;
    for (;;) {
      const pair = this.#pair ?? (await this.#whenReady(Math.max(0, endsAtMs - Date.now())));
      try {
        return await work(pair.commands);
      } catch (error) {
        if (mustReconnect(error) && this.#pair === pair) {
          this.#lost(error);
        }
        if (!wasNotSent(error)) {
          throw redisError(this.address, error, 'was lost');
        }
      }
    }
  }

  /**
   * Hears a channel until the returned function is called, across reconnections; what is published while there
   * is no connection is gone. Resolves once subscribed, or at once when there is no connection to subscribe on.
   */
  async subscribe(channel: string, listener: Listener): Promise<() => Promise<void>> {
    let subscription = this.#subscriptions.get(channel);
    if (subscription === undefined) {
      subscription = { listeners: new Set(), subscribed: Promise.resolve() };
      this.#subscriptions.set(channel, subscription);
      subscription.subscribed = this.#subscribeNow([channel]);
    }
    const { listeners, subscribed } = subscription;
    listeners.add(listener);
    const stop = async (): Promise<void> => {
      listeners.delete(listener);
      if (listeners.size === 0 && this.#subscriptions.get(channel)?.listeners === listeners) {
        this.#subscriptions.delete(channel);
        // A lost connection has no subscriptions.
        await this.#pair?.subscriber.unsubscribe(channel).catch(() => undefined);
      }
    };
    try {
      await subscribed;
    } catch (error) {
      // Anything else is a lost connection, and the next one subscribes to everything.
      if (error instanceof Error && error.name === 'ReplyError') {
        await stop();
        throw redisError(this.address, error, `refused to subscribe to ${channel}`);
      }
    }
    return stop;
  }

  /** Idempotent. */
  async close(): Promise<void> {
    if (this.#state === 'closed') {
      return;
    }
    this.#closing.abort();
    const pair = this.#dropPair();
    this.#setState('closed');
    this.#subscriptions.clear();
    await Promise.all([pair?.close(), this.#reconnecting]);
  }

  async #connect(timeoutMs: number): Promise<void> {
    const pair = new RedisPair(this.#target.options, {
      onMessage: (channel, payload) => this.#dispatch(channel, payload),
      onLost: (cause) => {
        if (this.#pair === pair) {
          this.#lost(cause);
        }
      },
    });
    let subscribed: Set<string>;
    try {
      subscribed = await pair.open(() => [...this.#subscriptions.keys()], timeoutMs, this.#closing.signal);
    } catch (error) {
      this.#lastError = error;
      throw error;
    }
    this.#pair = pair;
    const late = [...this.#subscriptions.keys()].filter((channel) => !subscribed.has(channel));
    this.#subscribeNow(late).catch((error: unknown) => this.#lost(error));
    this.#setState('ready');
    for (const waiter of this.#waiters) {
      waiter.resolve(pair);
    }
  }

  async #subscribeNow(channels: string[]): Promise<void> {
    if (channels.length > 0) {
      await this.#pair?.subscriber.subscribe(...channels);
    }
  }

  #dispatch(channel: string, payload: Buffer): void {
    for (const listener of this.#subscriptions.get(channel)?.listeners ?? []) {
      try {
        listener(payload);
      } catch (error) {
        this.#logger.error({ err: error, channel }, 'bus listener failed');
      }
    }
  }

  #lost(cause: unknown): void {
    const pair = this.#dropPair();
    if (pair === undefined || this.#state === 'closed') {
      return;
    }
    this.#lastError = cause ?? new Error('the connection was closed');
    pair.abandon();
    this.#setState('reconnecting');
    this.#reconnecting = this.#reconnect();
  }

  async #reconnect(): Promise<void> {
    const { signal } = this.#closing;
    for (let retryMs = FIRST_RETRY_MS; !signal.aborted; retryMs = Math.min(retryMs * 2, MAX_RETRY_MS)) {
      // Up to a fifth more, so that many nodes do not come back at the same moment.
      await pause(retryMs * (1 + Math.random() / 5), signal);
      const connected = await this.#connect(ATTEMPT_TIMEOUT_MS).then(
        () => true,
        () => false,
      );
      if (connected) {
        return;
      }
    }
  }

  #dropPair(): RedisPair | undefined {
    const pair = this.#pair;
    this.#pair = undefined;
    return pair;
  }

  #whenReady(waitMs: number): Promise<RedisPair> {
    return new Promise((resolve, reject) => {
      if (this.#state === 'closed') {
        reject(connectionLost(this.address, 'the bus is closed'));
        return;
      }
      const timer = setTimeout(() => waiter.reject(connectionLost(this.address, this.#lastError)), waitMs);
      const settle = <Value>(then: (value: Value) => void) => {
        return (value: Value): void => {
          clearTimeout(timer);
          this.#waiters.delete(waiter);
          then(value);
        };
      };
      const waiter: Waiter = { resolve: settle(resolve), reject: settle(reject) };
      this.#waiters.add(waiter);
    });
  }

  #setState(state: RedisState): void {
    if (state === this.#state) {
      return;
    }
    const before = this.#state;
    this.#state = state;
    this.#sinceMs = Date.now();
    const fields = { address: this.address, before };
    if (state === 'reconnecting') {
      this.#logger.warn({ ...fields, reason: messageOf(this.#lastError) }, 'Redis connection lost');
    } else {
      this.#logger.info({ ...fields, state }, 'Redis connection changed');
    }
    if (state === 'closed') {
      for (const waiter of this.#waiters) {
        waiter.reject(connectionLost(this.address, 'the bus is closed'));
      }
    }
    for (const observer of this.#observers) {
      observer(state);
    }
  }
}

function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted === true) {
      resolve();
      return;
    }
    const done = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener('abort', done, { once: true });
  });
}
