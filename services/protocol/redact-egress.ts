import { Message, type AnyMessage, type FieldInfo } from '@bufbuild/protobuf';
import type { EgressInfo } from '@livekit/protocol';
import { redactText } from '../base/redact.ts';

/** Fields of storage, proxy and webhook messages whose value is a credential. */
const SECRET_FIELDS: ReadonlySet<string> = new Set([
  'access_key',
  'secret',
  'session_token',
  'assume_role_arn',
  'assume_role_external_id',
  'credentials',
  'account_name',
  'account_key',
  'password',
  'signing_key',
  'token',
]);

/** Fields that hold an address which may carry a stream key or credentials. */
const URL_FIELDS: ReadonlySet<string> = new Set(['url', 'urls', 'add_output_urls', 'remove_output_urls']);

/**
 * A copy of the job record that anybody with roomRecord may see: credentials become `{field_name}` as in
 * LiveKit, stream keys in addresses are cut. Works on every request shape, because it follows the message types.
 */
export function redactEgress(info: EgressInfo): EgressInfo {
  const copy = info.clone();
  redactMessage(copy);
  return copy;
}

function redactMessage(message: AnyMessage): void {
  for (const field of message.getType().fields.byMember()) {
    if (field.kind === 'oneof') {
      const held = message[field.localName] as { case?: string; value?: unknown };
      const chosen = field.fields.find((candidate) => candidate.localName === held.case);
      if (chosen !== undefined) {
        held.value = redactField(chosen, held.value);
      }
      continue;
    }
    message[field.localName] = redactField(field, message[field.localName]);
  }
}

function redactField(field: FieldInfo, value: unknown): unknown {
  if (Array.isArray(value)) {
    return value.map((item: unknown) => redactField(field, item));
  }
  if (value instanceof Message) {
    redactMessage(value as AnyMessage);
    return value;
  }
  if (typeof value !== 'string' || value === '') {
    return value;
  }
  if (SECRET_FIELDS.has(field.name)) {
    return `{${field.name}}`;
  }
  if (field.name === 'websocket_url') {
    return redactSocketUrl(value);
  }
  return URL_FIELDS.has(field.name) || field.name === 'error' ? redactText(value) : value;
}

/** Receivers of raw audio invent their own query: every value may be a token. */
function redactSocketUrl(url: string): string {
  return redactText(url)
    .replace(/^(wss?:\/\/)[^/?#]*@/i, '$1[redacted]@')
    .replace(/([?&][^=&#]*=)[^&#]*/g, '$1[redacted]');
}
