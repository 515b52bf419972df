import { WebhookDispatcher } from '../../services/api/webhooks/webhook-dispatcher.ts';
import { createLogger } from '../../services/base/logger.ts';

/** For tests that do not ask what is told to whom. */
export function silentWebhooks(): WebhookDispatcher {
  return new WebhookDispatcher({
    urls: [],
    apiKey: '',
    keys: new Map(),
    logger: createLogger({ level: 'silent' }),
  });
}

/** Tells everything to `url`, signed with the key that startWebhookSink was given. */
export function webhooksTo(url: string, apiKey: string, apiSecret: string): WebhookDispatcher {
  return new WebhookDispatcher({
    ...{ urls: [url], apiKey, keys: new Map([[apiKey, apiSecret]]) },
    logger: createLogger({ level: 'silent' }),
  });
}
