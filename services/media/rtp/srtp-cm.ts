import { createCipheriv, hash } from 'node:crypto';
import { readU32, writeU32 } from './bytes.ts';
import type { SrtpSessionKeys } from './srtp-keys.ts';

/** AES_CM_128_HMAC_SHA1_80: 80 of SHA-1's 160 bits. */
const TAG_LENGTH = 10;
const AES_BLOCK = 16;
/** SHA-1's block, and so the length of an HMAC's padded key (RFC 2104 §2). */
const HMAC_BLOCK = 64;
const SHA1_LENGTH = 20;
/** The largest datagram, and a rollover counter behind it. */
const MAX_MESSAGE = 0x1_0000 + 4;

/** Everything is synchronous, so that all keys can share their scratch memory. */
const counters = Buffer.alloc(MAX_MESSAGE + AES_BLOCK - 4);
const counterWords = wordsOf(counters);
for (let block = 0; block < counters.length / AES_BLOCK; block += 1) {
  counters.writeUInt16BE(block, block * AES_BLOCK + 14);
}
const input = Buffer.alloc(counters.length);
const inputWords = wordsOf(input);
const inner = Buffer.alloc(HMAC_BLOCK + MAX_MESSAGE);
const outer = Buffer.alloc(HMAC_BLOCK + SHA1_LENGTH);
const tag = Buffer.alloc(TAG_LENGTH);
/** By length. Making a view costs more than hashing what an audio packet has in it. */
const counterViews: Buffer[] = [];
const innerViews: Buffer[] = [];

function wordsOf(bytes: Buffer): Uint32Array {
  return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2);
}

/**
 * AES-CM and HMAC-SHA1 with the keys of one direction (RFC 3711 §4). A cipher or an HMAC object for each packet costs
 * several times what its bytes cost, so one cipher makes all key streams, block by block (counter mode is the encrypted
 * counter, NIST SP 800-38A §6.5), and the HMAC is made of its two hashes.
 */
export class AesCm {
  readonly #salt: Buffer;
  readonly #blockCipher: ReturnType<typeof createCipheriv>;
  readonly #innerPad = Buffer.alloc(HMAC_BLOCK, 0x36);
  readonly #outerPad = Buffer.alloc(HMAC_BLOCK, 0x5c);

  constructor(keys: SrtpSessionKeys) {
    this.#salt = keys.salt;
    this.#blockCipher = createCipheriv('aes-128-ecb', keys.key, null).setAutoPadding(false);
    keys.authKey.export().forEach((byte, index) => {
      this.#innerPad[index] = byte ^ 0x36;
      this.#outerPad[index] = byte ^ 0x5c;
    });
  }

  /** Both directions; the result has memory of its own. The packet index is `high` · 2^16 + `low`. */
  crypt(ssrc: number, high: number, low: number, bytes: Uint8Array): Buffer {
    const blocks = Math.ceil(bytes.length / AES_BLOCK);
    this.#fillCounters(blocks, ssrc, high, low);
    const length = blocks * AES_BLOCK;
    const out = this.#blockCipher.update((counterViews[blocks] ??= counters.subarray(0, length)));
    const outWords = wordsOf(out);
    input.set(bytes);
    for (let index = 0; index < outWords.length; index += 1) {
      outWords[index] = (outWords[index] ?? 0) ^ (inputWords[index] ?? 0);
    }
    return out.length === bytes.length ? out : out.subarray(0, bytes.length);
  }

  /**
   * Writes the tag of `out[0…end]` behind it and returns the new end. RTP's `rollover` counter is signed as well, but not
   * sent; RTCP has none.
   */
  sign(out: Buffer, end: number, rollover?: number): number {
    this.#makeTag(out, end, rollover);
    out.set(tag, end);
    return end + TAG_LENGTH;
  }

  /** True when the tag behind `packet[0…end]` is right; takes as long when it is wrong. */
  verify(packet: Uint8Array, end: number, rollover?: number): boolean {
    this.#makeTag(packet, end, rollover);
    let difference = 0;
    for (let index = 0; index < TAG_LENGTH; index += 1) {
      difference |= (tag[index] ?? 0) ^ (packet[end + index] ?? 0);
    }
    return difference === 0;
  }

  /** HMAC-SHA1 (RFC 2104). Hexadecimal is what Node's hash() gives without looking any further. */
  #makeTag(message: Uint8Array, end: number, rollover: number | undefined): void {
    inner.set(this.#innerPad);
    inner.set(end === message.length ? message : message.subarray(0, end), HMAC_BLOCK);
    let length = HMAC_BLOCK + end;
    if (rollover !== undefined) {
      writeU32(inner, length, rollover);
      length += 4;
    }
    outer.set(this.#outerPad);
    outer.write(hash('sha1', (innerViews[length] ??= inner.subarray(0, length))), HMAC_BLOCK, 'hex');
    tag.write(hash('sha1', outer), 'hex');
  }

  /**
   * RFC 3711 §4.1.1: (salt · 2^16) xor (SSRC · 2^64) xor (index · 2^16) in each block, and its number in the last two bytes,
   * which are never changed.
   */
  #fillCounters(blocks: number, ssrc: number, high: number, low: number): void {
    counters.set(this.#salt);
    writeU32(counters, 4, (readU32(counters, 4) ^ ssrc) >>> 0);
    writeU32(counters, 8, (readU32(counters, 8) ^ high) >>> 0);
    const index12 = (counters[12] ?? 0) ^ (low >>> 8);
    const index13 = (counters[13] ?? 0) ^ (low & 0xff);
    const [word0 = 0, word1 = 0, word2 = 0] = counterWords;
    for (let block = 0; block < blocks; block += 1) {
      const word = block * (AES_BLOCK / 4);
      counterWords[word] = word0;
      counterWords[word + 1] = word1;
      counterWords[word + 2] = word2;
      counters[block * AES_BLOCK + 12] = index12;
      counters[block * AES_BLOCK + 13] = index13;
    }
  }
}
