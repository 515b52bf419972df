import { randomBytes } from 'node:crypto';

const ALPHABET = '23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz';

/** LiveKit's id prefixes (glossary in ARCHITECTURE.md). */
export type IdPrefix =
  | 'ND_' // node
  | 'RM_' // room
  | 'PA_' // participant
  | 'TR_' // track
  | 'IN_' // ingress
  | 'EG_' // egress
  | 'EGH_' // egress handler process
  | 'RT_' // RTMP ingress session
  | 'SR_' // SRT ingress session
  | 'WH_' // WHIP ingress session
  | 'UR_' // URL ingress session
  | 'EV_' // webhook event
  | 'CLI_' // bus client
  | 'SRV_' // bus server
  | 'REQ_'; // bus request

/** `length` characters drawn without bias from an alphabet free of look-alikes. */
export function randomString(length: number): string {
  const limit = 256 - (256 % ALPHABET.length);
  let out = '';
  while (out.length < length) {
    for (const byte of randomBytes(length * 2)) {
      if (byte < limit && out.length < length) {
        out += ALPHABET.charAt(byte % ALPHABET.length);
      }
    }
  }
  return out;
}

export function newId(prefix: IdPrefix): string {
  return prefix + randomString(12);
}
