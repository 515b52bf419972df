import { createHmac, randomBytes } from 'node:crypto';

/**
 * The handshake with digests that Flash, FMLE and ffmpeg use instead of the plain one of the specification: each side
 * hides a signature of its packet inside it, at a place that other bytes of the packet tell.
 */
const PACKET_BYTES = 1536;
const DIGEST_BYTES = 32;
const BLOCK_BYTES = 728;
/** Where the four bytes are whose sum tells the digest's place: behind time and version, or in the second half. */
const OFFSET_FIELDS = [8, 772] as const;

const COMMON_SUFFIX = Buffer.from('f0eec24a8068bee82e00d0d1029e7e576eec5d2d29806fab93b8e636cfeb31ae', 'hex');
const CLIENT_KEY = Buffer.from('Genuine Adobe Flash Player 001');
const SERVER_KEY = Buffer.from('Genuine Adobe Flash Media Server 001');
const SERVER_VERSION = [4, 5, 0, 1];

export type PacketDigest = { scheme: 0 | 1; digest: Buffer };

/** The client's digest, whichever scheme it follows; undefined when C1 carries none. @param c1 1536 bytes. */
export function findClientDigest(c1: Buffer): PacketDigest | undefined {
  if (c1.readUInt32BE(4) === 0) {
    return undefined; // a version of zero says so
  }
  for (const scheme of [0, 1] as const) {
    const at = digestOffset(c1, scheme);
    const digest = c1.subarray(at, at + DIGEST_BYTES);
    if (packetDigest(c1, at, CLIENT_KEY).equals(digest)) {
      return { scheme, digest };
    }
  }
  return undefined;
}

/** S1 with the server's digest by the client's scheme, and S2 signed with the client's digest. */
export function signedAnswer({ scheme, digest }: PacketDigest): { s1: Buffer; s2: Buffer } {
  const s1 = randomBytes(PACKET_BYTES);
  s1.fill(0, 0, 4);
  s1.set(SERVER_VERSION, 4);
  const at = digestOffset(s1, scheme);
  s1.set(packetDigest(s1, at, SERVER_KEY), at);
  const s2 = randomBytes(PACKET_BYTES);
  const key = hmac(Buffer.concat([SERVER_KEY, COMMON_SUFFIX]), digest);
  const signed = PACKET_BYTES - DIGEST_BYTES;
  s2.set(hmac(key, s2.subarray(0, signed)), signed);
  return { s1, s2 };
}

function digestOffset(packet: Buffer, scheme: 0 | 1): number {
  const field = OFFSET_FIELDS[scheme];
  const sum = packet.subarray(field, field + 4).reduce((total, byte) => total + byte, 0);
  return field + 4 + (sum % BLOCK_BYTES);
}

/** Over everything but the place of the digest itself. */
function packetDigest(packet: Buffer, at: number, key: Buffer): Buffer {
  return hmac(key, packet.subarray(0, at), packet.subarray(at + DIGEST_BYTES));
}

function hmac(key: Buffer, ...parts: readonly Buffer[]): Buffer {
  const state = createHmac('sha256', key);
  parts.forEach((part) => state.update(part));
  return state.digest();
}
