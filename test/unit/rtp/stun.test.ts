import { describe, expect, it } from 'vitest';
import {
  buildStunBinding,
  MAX_STUN_LENGTH,
  parseStunBinding,
  verifyIntegrity,
} from '../../../services/protocol/stun.ts';
import { seededRandom } from './seeded-random.ts';

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(/\s/g, ''), 'hex');

/** RFC 5769: short-term credentials of §2.1–2.3. */
const PASSWORD = 'VOkJxbRl1RmTxUk/WvJxBt';
const REQUEST = hex(`000100582112a442b7e7a701bc34d686fa87dfae 802200105354554e207465737420636c69656e74
  002400046e0001ff 80290008932ff9b151263b36 000600096576746a3a68367659202020
  000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2 80280004e57a3bcf`);
const RESPONSE_V4 = hex(`0101003c2112a442b7e7a701bc34d686fa87dfae 8022000b7465737420766563746f7220
  002000080001a147e112a643 000800142b91f599fd9e90c38c7489f92af9ba53f06be7d7 80280004c07d4c96`);
const RESPONSE_V6 = hex(`010100482112a442b7e7a701bc34d686fa87dfae 8022000b7465737420766563746f7220
  002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9
  00080014a382954e4be67bf11784c97c8292c275bfe3ed41 80280004c8fb0b4c`);

describe('RFC 5769 vectors', () => {
  it('reads and authenticates the request', () => {
    const message = parseStunBinding(REQUEST);
    expect(message).toMatchObject({ class: 'request', username: 'evtj:h6vY', priority: 0x6e00_01ff });
    expect(message !== undefined && verifyIntegrity(REQUEST, message, PASSWORD)).toBe(true);
    expect(message !== undefined && verifyIntegrity(REQUEST, message, 'another')).toBe(false);
  });

  it.each([
    ['IPv4', RESPONSE_V4, '192.0.2.1'],
    ['IPv6', RESPONSE_V6, '2001:db8:1234:5678:11:2233:4455:6677'],
  ])('reads the mapped address of the %s response', (_family, datagram, address) => {
    const message = parseStunBinding(datagram);
    expect(message).toMatchObject({ class: 'success', xorMappedAddress: { address, port: 32853 } });
    expect(message !== undefined && verifyIntegrity(datagram, message, PASSWORD)).toBe(true);
  });
});

describe('building', () => {
  it.each([
    ['192.0.2.1', '192.0.2.1'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['2001:db8::1', '2001:db8:0:0:0:0:0:1'],
    ['fe80::1%eth0', 'fe80:0:0:0:0:0:0:1'],
    ['::', '0:0:0:0:0:0:0:0'],
  ])('reflects %s', (address, read) => {
    const datagram = buildStunBinding({
      class: 'success',
      transactionId: Buffer.from('abcdefghijkl'),
      password: PASSWORD,
      xorMappedAddress: { address, port: 5004 },
    });
    expect(parseStunBinding(datagram)?.xorMappedAddress).toEqual({ address: read, port: 5004 });
  });

  it('writes a complete check', () => {
    const datagram = buildStunBinding({
      class: 'request',
      transactionId: Buffer.alloc(12, 9),
      password: PASSWORD,
      username: 'them:us',
      priority: 77,
      useCandidate: true,
      iceControlling: Buffer.alloc(8, 1),
    });
    const message = parseStunBinding(datagram);
    expect(message).toMatchObject({ username: 'them:us', priority: 77, useCandidate: true });
    expect(message !== undefined && verifyIntegrity(datagram, message, PASSWORD)).toBe(true);
  });
});

describe('bad input', () => {
  it('notices every flipped bit up to FINGERPRINT, which stands outside the integrity', () => {
    for (let bit = 0; bit < (REQUEST.length - 8) * 8; bit += 1) {
      const flipped = Buffer.from(REQUEST);
      flipped[bit >>> 3] = (flipped[bit >>> 3] ?? 0) ^ (1 << (bit & 7));
      const message = parseStunBinding(flipped);
      expect(message !== undefined && verifyIntegrity(flipped, message, PASSWORD)).toBe(false);
    }
  });

  it('ignores what stands behind MESSAGE-INTEGRITY', () => {
    const useCandidate = hex('00250000');
    const forged = Buffer.concat([REQUEST.subarray(0, REQUEST.length - 8), useCandidate]);
    forged.writeUInt16BE(forged.length - 20, 2);
    const message = parseStunBinding(forged);
    expect(message?.useCandidate).toBe(false);
  });

  it('refuses oversized messages and too many attributes', () => {
    const many = Buffer.concat([REQUEST.subarray(0, 20), Buffer.alloc(40 * 4)]);
    many.writeUInt16BE(160, 2);
    expect(parseStunBinding(many)).toBeUndefined();
    const large = Buffer.concat([REQUEST.subarray(0, 20), Buffer.alloc(MAX_STUN_LENGTH)]);
    large.writeUInt16BE(MAX_STUN_LENGTH, 2);
    expect(parseStunBinding(large)).toBeUndefined();
  });

  it('never throws', () => {
    const random = seededRandom(2);
    for (let round = 0; round < 5000; round += 1) {
      const bytes = Buffer.from(REQUEST.subarray(0, Math.ceil(random() * REQUEST.length)));
      if (bytes.length >= 20) {
        bytes.writeUInt16BE((bytes.length - 20) & 0xfffc, 2);
      }
      for (let flips = 0; flips < 3; flips += 1) {
        bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256);
      }
      expect(() => {
        const message = parseStunBinding(bytes);
        if (message !== undefined) {
          verifyIntegrity(bytes, message, PASSWORD);
        }
      }).not.toThrow();
    }
  });
});
