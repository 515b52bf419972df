import { createCipheriv, createDecipheriv, type CipherGCMOptions } from 'node:crypto';
import type { SrtpSessionKeys } from './srtp-keys.ts';

/** IVs are written in place and copied by createCipheriv; everything is synchronous, so one buffer is enough. */
const gcmIv = Buffer.alloc(12);
const GCM_OPTIONS: CipherGCMOptions = { authTagLength: 16 };
/** By length: the associated data of the packet being sealed. Making a view of the packet costs more than copying. */
const scratchAad: Buffer[] = [];
const GCM_TAG_LENGTH = 16;

/**
 * RFC 7714 §8.1: 00 00 | SSRC | ROC | SEQ, xor salt. For SRTCP (§9.1) it is 00 00 | SSRC | 00 00 | index, which is the
 * same layout with the index' upper half as `high` and its lower half as `low`.
 */
function fillGcmIv(salt: Uint8Array, ssrc: number, high: number, low: number): Buffer {
  gcmIv.set(salt, 0);
  gcmIv[2] = (gcmIv[2] ?? 0) ^ (ssrc >>> 24);
  gcmIv[3] = (gcmIv[3] ?? 0) ^ ((ssrc >>> 16) & 0xff);
  gcmIv[4] = (gcmIv[4] ?? 0) ^ ((ssrc >>> 8) & 0xff);
  gcmIv[5] = (gcmIv[5] ?? 0) ^ (ssrc & 0xff);
  gcmIv[6] = (gcmIv[6] ?? 0) ^ (high >>> 24);
  gcmIv[7] = (gcmIv[7] ?? 0) ^ ((high >>> 16) & 0xff);
  gcmIv[8] = (gcmIv[8] ?? 0) ^ ((high >>> 8) & 0xff);
  gcmIv[9] = (gcmIv[9] ?? 0) ^ (high & 0xff);
  gcmIv[10] = (gcmIv[10] ?? 0) ^ (low >>> 8);
  gcmIv[11] = (gcmIv[11] ?? 0) ^ (low & 0xff);
  return gcmIv;
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
