import { createCipheriv, createDecipheriv, createHmac, type CipherGCMOptions } from 'node:crypto';
import type { SrtpSessionKeys } from './srtp-keys.ts';

/** IVs are written in place and copied by createCipheriv; everything is synchronous, so one buffer each is enough. */
const ivGcm = Buffer.alloc(12);
const ivCm = Buffer.alloc(16);
const GCM_OPTIONS: CipherGCMOptions = { authTagLength: 16 };
/** By length: the associated data of the packet being sealed. Making a view of the packet costs more than copying. */
const scratchAad: Buffer[] = [];
const GCM_TAG_LENGTH = 16;
/** AES_CM_128_HMAC_SHA1_80: 80 of SHA-1's 160 bits. */
const CM_TAG_LENGTH = 10;

/**
 * RFC 7714 §8.1: 00 00 | SSRC | ROC | SEQ, xor salt. For SRTCP (§9.1) it is 00 00 | SSRC | 00 00 | index, which is the
 * same layout with the index' upper half as `high` and its lower half as `low`.
 */
function fillGcmIv(salt: Uint8Array, ssrc: number, high: number, low: number): Buffer {
  ivGcm.set(salt, 0);
  ivGcm[2] = (ivGcm[2] ?? 0) ^ (ssrc >>> 24);
  ivGcm[3] = (ivGcm[3] ?? 0) ^ ((ssrc >>> 16) & 0xff);
  ivGcm[4] = (ivGcm[4] ?? 0) ^ ((ssrc >>> 8) & 0xff);
  ivGcm[5] = (ivGcm[5] ?? 0) ^ (ssrc & 0xff);
  ivGcm[6] = (ivGcm[6] ?? 0) ^ (high >>> 24);
  ivGcm[7] = (ivGcm[7] ?? 0) ^ ((high >>> 16) & 0xff);
  ivGcm[8] = (ivGcm[8] ?? 0) ^ ((high >>> 8) & 0xff);
  ivGcm[9] = (ivGcm[9] ?? 0) ^ (high & 0xff);
  ivGcm[10] = (ivGcm[10] ?? 0) ^ (low >>> 8);
  ivGcm[11] = (ivGcm[11] ?? 0) ^ (low & 0xff);
  return ivGcm;
}

/** RFC 3711 §4.1.1: (salt · 2^16) xor (SSRC · 2^64) xor (index · 2^16), index = high · 2^16 + low. */
function fillCmIv(salt: Uint8Array, ssrc: number, high: number, low: number): Buffer {
  ivCm.set(salt, 0);
  ivCm[4] = (ivCm[4] ?? 0) ^ (ssrc >>> 24);
  ivCm[5] = (ivCm[5] ?? 0) ^ ((ssrc >>> 16) & 0xff);
  ivCm[6] = (ivCm[6] ?? 0) ^ ((ssrc >>> 8) & 0xff);
  ivCm[7] = (ivCm[7] ?? 0) ^ (ssrc & 0xff);
  ivCm[8] = (ivCm[8] ?? 0) ^ (high >>> 24);
  ivCm[9] = (ivCm[9] ?? 0) ^ ((high >>> 16) & 0xff);
  ivCm[10] = (ivCm[10] ?? 0) ^ ((high >>> 8) & 0xff);
  ivCm[11] = (ivCm[11] ?? 0) ^ (high & 0xff);
  ivCm[12] = (ivCm[12] ?? 0) ^ (low >>> 8);
  ivCm[13] = (ivCm[13] ?? 0) ^ (low & 0xff);
  ivCm[14] = 0;
  ivCm[15] = 0;
  return ivCm;
}

/** The first `length` bytes of a packet, valid until the next call. */
export function packetAad(packet: Uint8Array, length: number): Buffer {
  const aad = (scratchAad[length] ??= Buffer.alloc(length));
  for (let index = 0; index < length; index += 1) {
    aad[index] = packet[index] ?? 0;
  }
  return aad;
}

/**
 * AEAD_AES_128_GCM: encrypts `payload` to `out[offset…]`, the tag behind it. Returns the end offset.
 * `aad` must not be reused with another plaintext under the same index: GCM then loses its authentication key.
 */
export function sealGcm(
  keys: SrtpSessionKeys,
  ssrc: number,
  high: number,
  low: number,
  aad: Uint8Array,
  payload: Uint8Array,
  out: Uint8Array,
  offset: number,
): number {
  // Without options: the tag has 16 bytes by default, and reading them costs time for each packet.
  const cipher = createCipheriv('aes-128-gcm', keys.key, fillGcmIv(keys.salt, ssrc, high, low));
  cipher.setAAD(aad);
  const encrypted = cipher.update(payload);
  cipher.final();
  out.set(encrypted, offset);
  out.set(cipher.getAuthTag(), offset + encrypted.length);
  return offset + encrypted.length + GCM_TAG_LENGTH;
}

/** Undefined when the tag does not match. */
export function openGcm(
  keys: SrtpSessionKeys,
  ssrc: number,
  high: number,
  low: number,
  aad: Uint8Array,
  encrypted: Uint8Array,
  tag: Uint8Array,
): Buffer | undefined {
  const decipher = createDecipheriv(
    'aes-128-gcm',
    keys.key,
    fillGcmIv(keys.salt, ssrc, high, low),
    GCM_OPTIONS,
  );
  decipher.setAAD(aad);
  decipher.setAuthTag(tag);
  const plain = decipher.update(encrypted);
  try {
    decipher.final();
  } catch {
    return undefined;
  }
  return plain;
}

/** AES in counter mode, both directions. */
export function cryptCm(
  keys: SrtpSessionKeys,
  ssrc: number,
  high: number,
  low: number,
  bytes: Uint8Array,
): Buffer {
  return createCipheriv('aes-128-ctr', keys.key, fillCmIv(keys.salt, ssrc, high, low)).update(bytes);
}

export function hmacSha1(keys: SrtpSessionKeys, bytes: Uint8Array): Buffer {
  return createHmac('sha1', keys.authKey).update(bytes).digest();
}

/** Compares a truncated HMAC in constant time. */
export function cmTagMatches(digest: Uint8Array, packet: Uint8Array, offset: number): boolean {
  let difference = 0;
  for (let index = 0; index < CM_TAG_LENGTH; index += 1) {
    difference |= (digest[index] ?? 0) ^ (packet[offset + index] ?? 0);
  }
  return difference === 0;
}
