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
