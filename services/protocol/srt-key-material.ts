import { createDecipheriv, pbkdf2 } from 'node:crypto';
import { promisify } from 'node:util';

/** Key material of SRT, draft-sharabayko-srt-01 section 3.2.2; how it is wrapped: section 6.1.5. */
const HEADER_BYTES = 16;
const SALT_BYTES = 16;
const VERSION_AND_TYPE = 0x12;
const SIGNATURE = 0x2029;
const ITERATIONS = 2048;
const ICV_BYTES = 8;
/** RFC 3394 section 2.2.3.1. */
const DEFAULT_ICV = Buffer.alloc(8, 0xa6);
const WRAP: ReadonlyMap<number, string> = new Map([
  [16, 'id-aes128-wrap'],
  [24, 'id-aes192-wrap'],
  [32, 'id-aes256-wrap'],
]);
const derive = promisify(pbkdf2);

/** Whether the key was wrapped with this passphrase. False for damaged messages, too; never throws. */
export async function isWrappedWith(keyMaterial: Buffer, passphrase: string): Promise<boolean> {
  if (
    keyMaterial.length < HEADER_BYTES + SALT_BYTES ||
    keyMaterial[0] !== VERSION_AND_TYPE ||
    keyMaterial.readUInt16BE(1) !== SIGNATURE ||
    (keyMaterial[14] ?? 0) * 4 !== SALT_BYTES
  ) {
    return false;
  }
  const keyBytes = (keyMaterial[15] ?? 0) * 4;
  const algorithm = WRAP.get(keyBytes);
  const keys = ((keyMaterial[3] ?? 0) & 3) === 3 ? 2 : 1;
  const wrapped = keyMaterial.subarray(HEADER_BYTES + SALT_BYTES);
  if (algorithm === undefined || wrapped.length !== ICV_BYTES + keys * keyBytes) {
    return false;
  }
  const salt = keyMaterial.subarray(HEADER_BYTES + SALT_BYTES / 2, HEADER_BYTES + SALT_BYTES);
  const keyEncryptionKey = await derive(passphrase, salt, ITERATIONS, keyBytes, 'sha1');
  try {
    const unwrap = createDecipheriv(algorithm, keyEncryptionKey, DEFAULT_ICV);
    unwrap.update(wrapped);
    unwrap.final();
    return true;
  } catch {
    return false;
  }
}
