import { setTimeout as delay } from 'node:timers/promises';
import type { WebhookEvent } from '@livekit/protocol';
import { messageOf } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import { signWebhook } from '../../protocol/webhook.ts';

export type WebhookTarget = { url: string; apiKey: string; apiSecret: string };

export type WebhookLimits = {
  /** Events that wait longer are dropped: a receiver wants to know what is, not what was. */
  maxAgeMs: number;
  maxDepth: number;
  attempts: number;
  firstRetryMs: number;
  maxRetryMs: number;
  requestTimeoutMs: number;
};

/** LiveKit's numbers. */
export const WEBHOOK_LIMITS: WebhookLimits = {
  maxAgeMs: 30_000,
  maxDepth: 200,
  attempts: 5,
  firstRetryMs: 1_000,
  maxRetryMs: 30_000,
  requestTimeoutMs: 10_000,
};

/** What became of an event: delivered, refused by the receiver for good, or dropped unsent. */
export type WebhookOutcome = 'sent' | 'failed' | 'dropped';

type Waiting = { event: WebhookEvent; queuedAtMs: number };

/** The events of one room for one receiver: one after the other, each retried before the next goes. */
export class WebhookQueue {
  readonly #target: WebhookTarget;
  readonly #limits: WebhookLimits;
  readonly #logger: Logger;
  readonly #onOutcome: (outcome: WebhookOutcome) => void;
  readonly #stop = new AbortController();
  readonly #waiting: Waiting[] = [];
  #dropped = 0;
  #sending: Promise<void> | undefined;

  constructor(options: {
    target: WebhookTarget;
    limits: WebhookLimits;
    logger: Logger;
    onOutcome: (outcome: WebhookOutcome) => void;
  }) {
    this.#target = options.target;
    this.#limits = options.limits;
    this.#logger = options.logger;
    this.#onOutcome = options.onOutcome;
  }

  get isIdle(): boolean {
    return this.#sending === undefined;
  }

  push(event: WebhookEvent): void {
    if (this.#waiting.length >= this.#limits.maxDepth) {
      this.#drop(event, 'too many are waiting');
      return;
    }
    this.#waiting.push({ event, queuedAtMs: Date.now() });
    this.#sending ??= this.#sendAll().finally(() => {
      this.#sending = undefined;
    });
  }

  /** Resolves when everything was sent or given up. */
  async drained(): Promise<void> {
    await this.#sending;
  }

  /** Gives up what has not been sent. */
  async close(): Promise<void> {
    this.#waiting.length = 0;
    this.#stop.abort();
    await this.#sending;
  }

  async #sendAll(): Promise<void> {
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
      await this.#sendOne(next);
    }
  }

  async #sendOne({ event, queuedAtMs }: Waiting): Promise<void> {
    const { attempts, firstRetryMs, maxRetryMs, maxAgeMs } = this.#limits;
    if (Date.now() - queuedAtMs > maxAgeMs) {
      this.#drop(event, 'it waited too long');
      return;
    }
    // eslint-disable-next-line @typescript-eslint/no-deprecated -- what receivers of today still look at
    event.numDropped = this.#dropped;
    for (let attempt = 1; ; attempt++) {
      const problem = await this.#post(event);
      if (problem === undefined) {
        this.#dropped = 0;
        this.#onOutcome('sent');
        return;
      }
      if (attempt >= attempts || !problem.retryable || this.#stop.signal.aborted) {
        this.#dropped += 1;
        this.#onOutcome('failed');
        this.#logger.warn({ ...named(event), attempt, reason: problem.reason }, 'webhook not delivered');
        return;
      }
      const pauseMs = Math.min(firstRetryMs * 2 ** (attempt - 1), maxRetryMs);
      await delay(pauseMs, undefined, { signal: this.#stop.signal }).catch(() => undefined);
    }
  }

  async #post(event: WebhookEvent): Promise<{ reason: string; retryable: boolean } | undefined> {
    const { url, apiKey, apiSecret } = this.#target;
    try {
      const { body, headers } = await signWebhook(event, apiKey, apiSecret);
      const timeout = AbortSignal.timeout(this.#limits.requestTimeoutMs);
      const response = await fetch(url, {
        method: 'POST',
        body,
        headers,
        signal: AbortSignal.any([timeout, this.#stop.signal]),
      });
      await response.body?.cancel();
      if (response.ok) {
        return undefined;
      }
      const retryable = response.status === 429 || (response.status >= 500 && response.status !== 501);
      return { reason: `HTTP ${response.status}`, retryable };
    } catch (error) {
      const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
      return { reason: messageOf(cause), retryable: true };
    }
  }

  #drop(event: WebhookEvent, reason: string): void {
    this.#dropped += 1;
    this.#onOutcome('dropped');
    this.#logger.warn({ ...named(event), reason }, 'webhook dropped');
  }
}

function named(event: WebhookEvent): { event: string; eventId: string } {
  return { event: event.event, eventId: event.id };
}
