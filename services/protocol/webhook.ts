import { createHash } from 'node:crypto';
import type { WebhookEvent } from '@livekit/protocol';
import { mintToken } from './token.ts';

/** A webhook's signature holds this long, as in LiveKit. */
const SIGNATURE_TTL_S = 300;

export type SignedWebhook = { body: string; headers: Record<string, string> };

/**
 * One event as LiveKit sends it: protobuf JSON, and a token without "Bearer" whose `sha256` claim is the base64 digest
 * of the body (livekit-server-sdk: WebhookReceiver).
 */
export async function signWebhook(
  event: WebhookEvent,
  apiKey: string,
  apiSecret: string,
): Promise<SignedWebhook> {
  const body = event.toJsonString();
  const sha256 = createHash('sha256').update(body).digest('base64');
  const authorization = await mintToken(apiKey, apiSecret, { sha256, ttlS: SIGNATURE_TTL_S });
  return {
    body,
    headers: { authorization, 'content-type': 'application/webhook+json', 'user-agent': 'sluice-webhook' },
  };
}
