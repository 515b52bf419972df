import { createCipheriv, createSecretKey, type KeyObject } from 'node:crypto';

/** DTLS-SRTP protection profiles (RFC 5764 §4.1.2, RFC 7714 §14.2). */
export const SRTP_PROFILES = {
  AEAD_AES_128_GCM: { id: 0x0007, masterKeyLength: 16, masterSaltLength: 12, tagLength: 16 },
  AES_CM_128_HMAC_SHA1_80: { id: 0x0001, masterKeyLength: 16, masterSaltLength: 14, tagLength: 10 },
} as const;

export type SrtpProfile = keyof typeof SRTP_PROFILES;

/** What a server of ours chooses from, best first: authenticated encryption of one piece where the other side has it. */
export const SRTP_PROFILE_PREFERENCE: readonly SrtpProfile[] = [
  'AEAD_AES_128_GCM',
  'AES_CM_128_HMAC_SHA1_80',
];

/**
 * What our own room client offers: only what everybody has to have (RFC 8827 §6.5), which costs a third less CPU here than
 * GCM does (srtp-cm.ts).
 */
export const SRTP_CLIENT_PROFILES: readonly SrtpProfile[] = ['AES_CM_128_HMAC_SHA1_80'];

export function srtpProfileById(id: number): SrtpProfile | undefined {
  return SRTP_PROFILE_PREFERENCE.find((name) => SRTP_PROFILES[name].id === id);
}

export type SrtpMasterKey = { key: Buffer; salt: Buffer };

/** Session keys of one direction for either RTP or RTCP. KeyObjects: a raw Buffer key costs three times as much on Node 24. */
export type SrtpSessionKeys = { key: KeyObject; salt: Buffer; authKey: KeyObject };
export type SrtpDirectionKeys = { profile: SrtpProfile; rtp: SrtpSessionKeys; rtcp: SrtpSessionKeys };

/** RFC 3711 §4.3.1 labels. */
const LABEL = { rtpKey: 0, rtpAuth: 1, rtpSalt: 2, rtcpKey: 3, rtcpAuth: 4, rtcpSalt: 5 } as const;

/**
 * AES-CM key derivation, RFC 3711 §4.3.3 with a key derivation rate of 0. A 96-bit salt (GCM) is padded on the right,
 * RFC 7714 §11.
 */
export function deriveKey(master: SrtpMasterKey, label: number, length: number): Buffer {
  const block = Buffer.alloc(16);
  master.salt.copy(block, 0, 0, Math.min(14, master.salt.length));
  block[7] = (block[7] ?? 0) ^ label;
  const cipher = createCipheriv('aes-128-ctr', master.key, block);
  return cipher.update(Buffer.alloc(length));
}

/** Derives all session keys of one direction from the DTLS-exported master key and salt. */
export function deriveSrtpKeys(profile: SrtpProfile, master: SrtpMasterKey): SrtpDirectionKeys {
  const { masterKeyLength, masterSaltLength } = SRTP_PROFILES[profile];
  if (master.key.length !== masterKeyLength || master.salt.length !== masterSaltLength) {
    throw new RangeError(
      `${profile} needs a ${masterKeyLength}-byte key and a ${masterSaltLength}-byte salt, got ${master.key.length} and ${master.salt.length}`,
    );
  }
  const session = (keyLabel: number, authLabel: number, saltLabel: number): SrtpSessionKeys => ({
    key: createSecretKey(deriveKey(master, keyLabel, masterKeyLength)),
    authKey: createSecretKey(deriveKey(master, authLabel, 20)),
    salt: deriveKey(master, saltLabel, masterSaltLength),
  });
  return {
    profile,
    rtp: session(LABEL.rtpKey, LABEL.rtpAuth, LABEL.rtpSalt),
    rtcp: session(LABEL.rtcpKey, LABEL.rtcpAuth, LABEL.rtcpSalt),
  };
}
