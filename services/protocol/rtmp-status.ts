import { redactStreamKey, redactText } from '../base/redact.ts';
import type { AmfObject, AmfValue } from './amf0.ts';

const MAX_REASON_CHARACTERS = 200;

/** One property of a status or command object; undefined when the peer sent something else. */
export function statusProperty(info: AmfValue, key: string): AmfValue {
  return info instanceof Map ? (info as AmfObject).get(key) : undefined;
}

/**
 * What the other server says of a refusal: `code` and `description` of its information object (RTMP 1.0 section 7.2.2).
 * Some repeat the stream's name in it, which is a secret.
 */
export function statusReason(info: AmfValue, streamKey: string): string {
  const text = [statusProperty(info, 'code'), statusProperty(info, 'description')]
    .filter((part): part is string => typeof part === 'string' && part !== '')
    .join(', ')
    .replaceAll(streamKey, () => redactStreamKey(streamKey))
    .replace(/\p{Cc}/gu, ' ');
  return redactText(text).slice(0, MAX_REASON_CHARACTERS) || 'no reason given';
}
