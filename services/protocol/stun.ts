import { createHmac, timingSafeEqual } from 'node:crypto';
import { isIPv6 } from 'node:net';

/** STUN binding as ICE uses it: RFC 8489 (messages), RFC 8445 §16 (attributes). */
const MAGIC_COOKIE = 0x2112_a442;
const HEADER_LENGTH = 20;
const FINGERPRINT_XOR = 0x5354_554e;
/** A check with every attribute ICE defines stays far below this; more is not ICE. */
export const MAX_STUN_LENGTH = 1280;
const MAX_ATTRIBUTES = 32;
const MAX_USERNAME_LENGTH = 513;

const ATTRIBUTE = {
  username: 0x0006,
  messageIntegrity: 0x0008,
  errorCode: 0x0009,
  xorMappedAddress: 0x0020,
  priority: 0x0024,
  useCandidate: 0x0025,
  fingerprint: 0x8028,
  iceControlled: 0x8029,
  iceControlling: 0x802a,
} as const;

export type StunClass = 'request' | 'indication' | 'success' | 'error';
const CLASSES: readonly StunClass[] = ['request', 'indication', 'success', 'error'];
const BINDING = 0x001;

export type StunBinding = {
  class: StunClass;
  /** 12 bytes. */
  transactionId: Buffer;
  /** '' when absent. */
  username: string;
  useCandidate: boolean;
  priority: number;
  xorMappedAddress: { address: string; port: number } | undefined;
  /** Of an error response, 0 when absent. */
  errorCode: number;
  /** Offset of MESSAGE-INTEGRITY, 0 when absent. */
  integrityOffset: number;
};

/** RFC 7983: the first byte of STUN is 0–3. */
export function looksLikeStun(datagram: Uint8Array): boolean {
  return datagram.length >= HEADER_LENGTH && (datagram[0] ?? 0xff) <= 3;
}

/**
 * Reads a binding message. Undefined for everything that is not well-formed: wrong cookie, method or length, attributes
 * that overrun, a FINGERPRINT that does not match. Attributes behind MESSAGE-INTEGRITY are ignored (RFC 8489 §14.5), so
 * nothing unauthenticated is used. Never throws.
 */
export function parseStunBinding(datagram: Buffer): StunBinding | undefined {
  if (!looksLikeStun(datagram) || datagram.length > MAX_STUN_LENGTH) {
    return undefined;
  }
  const type = datagram.readUInt16BE(0);
  const method = (type & 0x0f) | ((type >>> 1) & 0x70) | ((type >>> 2) & 0xf80);
  const end = HEADER_LENGTH + datagram.readUInt16BE(2);
  if (
    method !== BINDING ||
    datagram.readUInt32BE(4) !== MAGIC_COOKIE ||
    end !== datagram.length ||
    (end & 3) !== 0
  ) {
    return undefined;
  }
  const message: StunBinding = {
    class: CLASSES[((type >>> 7) & 2) | ((type >>> 4) & 1)] ?? 'request',
    transactionId: datagram.subarray(8, HEADER_LENGTH),
    username: '',
    useCandidate: false,
    priority: 0,
    xorMappedAddress: undefined,
    errorCode: 0,
    integrityOffset: 0,
  };
  let attributes = 0;
  for (let offset = HEADER_LENGTH; offset < end;) {
    const attribute = datagram.readUInt16BE(offset);
    const length = datagram.readUInt16BE(offset + 2);
    const next = offset + 4 + ((length + 3) & ~3);
    attributes += 1;
    if (next > end || attributes > MAX_ATTRIBUTES) {
      return undefined;
    }
    const value = datagram.subarray(offset + 4, offset + 4 + length);
    if (attribute === ATTRIBUTE.fingerprint) {
      if (length !== 4 || next !== end || !fingerprintMatches(datagram, offset)) {
        return undefined;
      }
    } else if (message.integrityOffset === 0 && !readAttribute(message, attribute, value, offset)) {
      return undefined;
    }
    offset = next;
  }
  return message;
}

function readAttribute(message: StunBinding, attribute: number, value: Buffer, offset: number): boolean {
  switch (attribute) {
    case ATTRIBUTE.username:
      message.username = value.toString('utf8');
      return value.length <= MAX_USERNAME_LENGTH;
    case ATTRIBUTE.messageIntegrity:
      message.integrityOffset = offset;
      return value.length === 20;
    case ATTRIBUTE.useCandidate:
      message.useCandidate = true;
      return true;
    case ATTRIBUTE.priority:
      message.priority = value.length === 4 ? value.readUInt32BE(0) : 0;
      return value.length === 4;
    case ATTRIBUTE.errorCode:
      message.errorCode = ((value[2] ?? 0) & 7) * 100 + (value[3] ?? 0);
      return value.length >= 4;
    case ATTRIBUTE.xorMappedAddress:
      message.xorMappedAddress = readXorAddress(value, message.transactionId);
      return message.xorMappedAddress !== undefined;
    default:
      return true;
  }
}

/** True when the message carries a MESSAGE-INTEGRITY made with `password` (short-term credentials). */
export function verifyIntegrity(datagram: Buffer, message: StunBinding, password: string): boolean {
  const offset = message.integrityOffset;
  if (offset === 0) {
    return false;
  }
  const expected = integrityOf(datagram, offset, password);
  return timingSafeEqual(expected, datagram.subarray(offset + 4, offset + 24));
}

/** HMAC over everything before the attribute, with the length as if it were the last one (RFC 8489 §14.5). */
function integrityOf(datagram: Buffer, offset: number, password: string): Buffer {
  const head = Buffer.from(datagram.subarray(0, HEADER_LENGTH));
  head.writeUInt16BE(offset + 24 - HEADER_LENGTH, 2);
  return createHmac('sha1', password).update(head).update(datagram.subarray(HEADER_LENGTH, offset)).digest();
}

export type StunBuildOptions = {
  class: StunClass;
  transactionId: Buffer;
  /** Key of MESSAGE-INTEGRITY. */
  password: string;
  username?: string;
  priority?: number;
  useCandidate?: boolean;
  /** 64-bit tie breaker, marks the sender as the controlling side. */
  iceControlling?: Buffer;
  xorMappedAddress?: { address: string; port: number };
  error?: { code: number; reason: string };
};

/** Builds a binding message ending in MESSAGE-INTEGRITY and FINGERPRINT. */
export function buildStunBinding(options: StunBuildOptions): Buffer {
  const parts: Buffer[] = [];
  if (options.username !== undefined) {
    parts.push(attributeBytes(ATTRIBUTE.username, Buffer.from(options.username, 'utf8')));
  }
  if (options.priority !== undefined) {
    const value = Buffer.alloc(4);
    value.writeUInt32BE(options.priority, 0);
    parts.push(attributeBytes(ATTRIBUTE.priority, value));
  }
  if (options.useCandidate === true) {
    parts.push(attributeBytes(ATTRIBUTE.useCandidate, Buffer.alloc(0)));
  }
  if (options.iceControlling !== undefined) {
    parts.push(attributeBytes(ATTRIBUTE.iceControlling, options.iceControlling));
  }
  if (options.xorMappedAddress !== undefined) {
    const { address, port } = options.xorMappedAddress;
    const value = xorAddress(address, port, options.transactionId);
    parts.push(attributeBytes(ATTRIBUTE.xorMappedAddress, value));
  }
  if (options.error !== undefined) {
    const reason = Buffer.from(options.error.reason, 'utf8');
    const { code } = options.error;
    const head = Buffer.from([0, 0, Math.floor(code / 100), code % 100]);
    parts.push(attributeBytes(ATTRIBUTE.errorCode, Buffer.concat([head, reason])));
  }
  const body = Buffer.concat(parts);
  const out = Buffer.alloc(HEADER_LENGTH + body.length + 24 + 8);
  const classBits = CLASSES.indexOf(options.class);
  out.writeUInt16BE(BINDING | ((classBits & 2) << 7) | ((classBits & 1) << 4), 0);
  out.writeUInt16BE(out.length - HEADER_LENGTH, 2);
  out.writeUInt32BE(MAGIC_COOKIE, 4);
  options.transactionId.copy(out, 8, 0, 12);
  body.copy(out, HEADER_LENGTH);
  const integrityAt = HEADER_LENGTH + body.length;
  out.writeUInt16BE(ATTRIBUTE.messageIntegrity, integrityAt);
  out.writeUInt16BE(20, integrityAt + 2);
  integrityOf(out, integrityAt, options.password).copy(out, integrityAt + 4);
  const fingerprintAt = integrityAt + 24;
  out.writeUInt16BE(ATTRIBUTE.fingerprint, fingerprintAt);
  out.writeUInt16BE(4, fingerprintAt + 2);
  out.writeUInt32BE(fingerprintOf(out, fingerprintAt), fingerprintAt + 4);
  return out;
}

function attributeBytes(type: number, value: Buffer): Buffer {
  const out = Buffer.alloc(4 + ((value.length + 3) & ~3));
  out.writeUInt16BE(type, 0);
  out.writeUInt16BE(value.length, 2);
  value.copy(out, 4);
  return out;
}

/** RFC 8489 §14.2: port xor the cookie's upper half, address xor cookie (| transaction id for IPv6). */
function xorAddress(address: string, port: number, transactionId: Buffer): Buffer {
  const bytes = addressBytes(address);
  const out = Buffer.alloc(4 + bytes.length);
  out[1] = bytes.length === 16 ? 2 : 1;
  out.writeUInt16BE(port ^ (MAGIC_COOKIE >>> 16), 2);
  const mask = xorMask(transactionId);
  bytes.forEach((byte, index) => {
    out[4 + index] = byte ^ (mask[index] ?? 0);
  });
  return out;
}

function readXorAddress(value: Buffer, transactionId: Buffer): { address: string; port: number } | undefined {
  const length = value[1] === 1 ? 4 : value[1] === 2 ? 16 : 0;
  if (length === 0 || value.length !== 4 + length) {
    return undefined;
  }
  const port = value.readUInt16BE(2) ^ (MAGIC_COOKIE >>> 16);
  const mask = xorMask(transactionId);
  const bytes = value.subarray(4).map((byte, index) => byte ^ (mask[index] ?? 0));
  if (length === 4) {
    return { address: bytes.join('.'), port };
  }
  const groups: string[] = [];
  for (let index = 0; index < 16; index += 2) {
    groups.push((((bytes[index] ?? 0) << 8) | (bytes[index + 1] ?? 0)).toString(16));
  }
  return { address: groups.join(':'), port };
}

function xorMask(transactionId: Buffer): Buffer {
  const mask = Buffer.alloc(16);
  mask.writeUInt32BE(MAGIC_COOKIE, 0);
  transactionId.copy(mask, 4, 0, 12);
  return mask;
}

/** 4 bytes for IPv4 and for IPv4-mapped IPv6 (what a dual-stack socket reports), else 16. */
function addressBytes(address: string): number[] {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address);
  const plain = mapped?.[1] ?? address.split('%')[0] ?? address;
  if (!isIPv6(plain)) {
    return plain.split('.').map(Number);
  }
  // A trailing dotted quad is two groups written in decimal.
  const dotted = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(plain);
  const text =
    dotted === null
      ? plain
      : `${dotted[1] ?? ''}${((Number(dotted[2]) << 8) | Number(dotted[3])).toString(16)}:${((Number(dotted[4]) << 8) | Number(dotted[5])).toString(16)}`;
  const [left = '', right] = text.split('::');
  const groupsOf = (part: string): number[] =>
    part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16));
  const head = groupsOf(left);
  const tail = right === undefined ? [] : groupsOf(right);
  const groups = [...head, ...new Array<number>(8 - head.length - tail.length).fill(0), ...tail];
  return groups.flatMap((group) => [group >>> 8, group & 0xff]);
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit += 1) {
    value = (value & 1) === 1 ? 0xedb8_8320 ^ (value >>> 1) : value >>> 1;
  }
  return value >>> 0;
});

function fingerprintOf(datagram: Buffer, end: number): number {
  let crc = 0xffff_ffff;
  for (let index = 0; index < end; index += 1) {
    crc = (CRC_TABLE[(crc ^ (datagram[index] ?? 0)) & 0xff] ?? 0) ^ (crc >>> 8);
  }
  return (crc ^ 0xffff_ffff ^ FINGERPRINT_XOR) >>> 0;
}

function fingerprintMatches(datagram: Buffer, offset: number): boolean {
  return datagram.readUInt32BE(offset + 4) === fingerprintOf(datagram, offset);
}
