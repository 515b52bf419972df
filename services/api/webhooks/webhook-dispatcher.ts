import { WebhookEvent, type WebhookConfig } from '@livekit/protocol';
import type { PartialMessage } from '@bufbuild/protobuf';
import { newId } from '../../base/ids.ts';
import type { Logger } from '../../base/logger.ts';
import type { ApiKeys } from '../../protocol/token.ts';
import {
  WEBHOOK_LIMITS,
  WebhookQueue,
  type WebhookLimits,
  type WebhookOutcome,
  type WebhookTarget,
} from './webhook-queue.ts';

export type WebhookOptions = {
  /** Receivers of every event, signed with `apiKey`. */
  urls: readonly string[];
  apiKey: string;
  keys: ApiKeys;
  logger: Logger;
  limits?: Partial<WebhookLimits>;
  onOutcome?: (outcome: WebhookOutcome) => void;
};

/** Receivers a single request asked for. An empty signing key means the configured one. */
export type ExtraWebhooks = readonly Pick<WebhookConfig, 'url' | 'signingKey'>[];

/** Sends events to all receivers; all events of a room reach each of them in order. */
export class WebhookDispatcher {
  readonly #options: WebhookOptions;
  readonly #limits: WebhookLimits;
  readonly #queues = new Map<string, WebhookQueue>();
  #closed = false;

  constructor(options: WebhookOptions) {
    this.#options = options;
    this.#limits = { ...WEBHOOK_LIMITS, ...options.limits };
  }

  /** Stamps the event and queues it; never throws, never waits. */
  notify(event: PartialMessage<WebhookEvent>, extra: ExtraWebhooks = []): void {
    if (this.#closed) {
      return;
    }
    const stamped = new WebhookEvent(event);
    stamped.id = newId('EV_');
    stamped.createdAt = BigInt(Math.floor(Date.now() / 1000));
    for (const target of [...this.#configured(), ...this.#requested(extra)]) {
      this.#queue(target, orderKey(stamped)).push(stamped.clone());
    }
  }

  /** Waits for what is queued at most `graceMs`, then gives up. Idempotent. */
  async close(graceMs: number): Promise<void> {
    this.#closed = true;
    const queues = [...this.#queues.values()];
    let timer: NodeJS.Timeout | undefined;
    const grace = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, graceMs);
    });
    await Promise.race([Promise.all(queues.map((queue) => queue.drained())), grace]);
    clearTimeout(timer);
    await Promise.all(queues.map((queue) => queue.close()));
    this.#queues.clear();
  }

  #configured(): WebhookTarget[] {
    const { urls, apiKey, keys } = this.#options;
    const apiSecret = keys.get(apiKey) ?? '';
    return urls.map((url) => ({ url, apiKey, apiSecret }));
  }

  #requested(extra: ExtraWebhooks): WebhookTarget[] {
    const { apiKey, keys, logger } = this.#options;
    return extra.flatMap(({ url, signingKey }) => {
      const key = signingKey === '' ? apiKey : signingKey;
      const apiSecret = keys.get(key);
      if (apiSecret === undefined) {
        logger.warn('webhook of a request not sent: its signing_key is not one of the configured keys');
        return [];
      }
      return [{ url, apiKey: key, apiSecret }];
    });
  }

  #queue(target: WebhookTarget, key: string): WebhookQueue {
    for (const [name, queue] of this.#queues) {
      if (queue.isIdle) {
        this.#queues.delete(name);
      }
    }
    const name = JSON.stringify([target.url, target.apiKey, key]);
    let queue = this.#queues.get(name);
    if (queue === undefined) {
      const { logger, onOutcome = () => undefined } = this.#options;
      queue = new WebhookQueue({ target, limits: this.#limits, logger, onOutcome });
      this.#queues.set(name, queue);
    }
    return queue;
  }
}

/** What happens in one room stays in order, its recordings included; the rest goes by its own id. */
function orderKey(event: WebhookEvent): string {
  const { room, egressInfo, ingressInfo } = event;
  const names = [room?.name, egressInfo?.roomName, ingressInfo?.roomName];
  return names.find((name) => name !== undefined && name !== '') ?? egressInfo?.egressId ?? '';
}
