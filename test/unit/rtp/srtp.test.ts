import { createCipheriv, createHmac, createSecretKey } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { writeRtpHeader } from '../../../services/media/rtp/rtp-header.ts';
import { AesCm } from '../../../services/media/rtp/srtp-cm.ts';
import { deriveKey } from '../../../services/media/rtp/srtp-keys.ts';
import { SrtpReceiver } from '../../../services/media/rtp/srtp-receiver.ts';
import { SrtpSender } from '../../../services/media/rtp/srtp-sender.ts';
import { SrtpSession, type SrtpProfile } from '../../../services/media/rtp/srtp.ts';
import type { SrtpDirectionKeys } from '../../../services/media/rtp/srtp-keys.ts';
import { seededRandom } from './seeded-random.ts';

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(/\s/g, ''), 'hex');
const PROFILES: SrtpProfile[] = ['AEAD_AES_128_GCM', 'AES_CM_128_HMAC_SHA1_80'];

/** Two ends with each other's keys. */
function pair(profile: SrtpProfile): { a: SrtpSession; b: SrtpSession } {
  const saltLength = profile === 'AEAD_AES_128_GCM' ? 12 : 14;
  const one = { key: Buffer.alloc(16, 1), salt: Buffer.alloc(saltLength, 2) };
  const two = { key: Buffer.alloc(16, 3), salt: Buffer.alloc(saltLength, 4) };
  return {
    a: new SrtpSession({ profile, local: one, remote: two }),
    b: new SrtpSession({ profile, local: two, remote: one }),
  };
}

function rtp(sequenceNumber: number, payload: Uint8Array, ssrc = 0x1234_5678): Buffer {
  const packet = Buffer.alloc(12 + payload.length);
  writeRtpHeader(packet, { payloadType: 96, marker: false, sequenceNumber, timestamp: 1, ssrc });
  packet.set(payload, 12);
  return packet;
}

describe('RFC 3711 appendix B', () => {
  it('derives the session keys of B.3', () => {
    const master = {
      key: hex('E1F97A0D3E018BE0D64FA32C06DE4139'),
      salt: hex('0EC675AD498AFEEBB6960B3AABE6'),
    };
    expect(deriveKey(master, 0, 16)).toEqual(hex('C61E7A93744F39EE10734AFE3FF7A087'));
    expect(deriveKey(master, 2, 14)).toEqual(hex('30CBBC08863D8C85D49DB34A9AE1'));
    expect(deriveKey(master, 1, 94)).toEqual(
      hex(`CEBE321F6FF7716B6FD4AB49AF256A15 6D38BAA48F0A0ACF3C34E2359E6CDBCE E049646C43D9327AD175578EF7227098
           6371C10C9A369AC2F94A8C5FBCDDDC25 6D6E919A48B610EF17C2041E47403576 6B68642C59BBFC2F34DB60DBDFB2`),
    );
  });

  it('makes the key stream of B.2 as payload of zeros', () => {
    // Packet index 0 and SSRC 0; the header is left alone, so the whole vector appears as payload.
    const keys: SrtpDirectionKeys = {
      profile: 'AES_CM_128_HMAC_SHA1_80',
      rtp: {
        key: createSecretKey(hex('2B7E151628AED2A6ABF7158809CF4F3C')),
        salt: hex('F0F1F2F3F4F5F6F7F8F9FAFBFCFD'),
        authKey: createSecretKey(Buffer.alloc(20)),
      },
      rtcp: {
        key: createSecretKey(Buffer.alloc(16)),
        salt: Buffer.alloc(14),
        authKey: createSecretKey(Buffer.alloc(20)),
      },
    };
    const sealed = new SrtpSender(keys).protectRtp(rtp(0, Buffer.alloc(48), 0));
    expect(sealed.subarray(12, 60)).toEqual(
      hex(
        'E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB 41E95B3BB0A2E8DD477901E4FCA894C0',
      ),
    );
  });
});

describe('AES-CM and HMAC-SHA1 by block', () => {
  const key = Buffer.from('0123456789abcdef');
  const authKey = Buffer.from('twenty bytes of key!');
  const salt = hex('F0F1F2F3F4F5F6F7F8F9FAFBFCFD');
  const cm = new AesCm({ key: createSecretKey(key), authKey: createSecretKey(authKey), salt });

  it.each([0, 1, 15, 16, 17, 63, 64, 1_200, 65_535])('are what OpenSSL makes of %i bytes', (length) => {
    const bytes = Buffer.from(Array.from({ length }, (_, index) => (index * 7) & 0xff));
    const [ssrc, rollover, sequenceNumber] = [0x89ab_cdef, 0xfedc_ba98, 0xf00d];
    const iv = Buffer.alloc(16);
    iv.set(salt);
    const index = Buffer.alloc(16);
    index.writeUInt32BE(ssrc, 4);
    index.writeUInt32BE(rollover, 8);
    index.writeUInt16BE(sequenceNumber, 12);
    index.forEach((byte, at) => (iv[at] = (iv[at] ?? 0) ^ byte));
    const wanted = createCipheriv('aes-128-ctr', key, iv).update(bytes);
    expect(cm.crypt(ssrc, rollover, sequenceNumber, bytes).equals(wanted)).toBe(true);

    const signed = Buffer.alloc(length + 10);
    signed.set(bytes);
    expect(cm.sign(signed, length, rollover)).toBe(length + 10);
    const word = Buffer.alloc(4);
    word.writeUInt32BE(rollover);
    const tag = createHmac('sha1', authKey).update(bytes).update(word).digest().subarray(0, 10);
    expect(signed.subarray(length)).toEqual(tag);
    expect(cm.verify(signed, length, rollover)).toBe(true);
    expect(cm.verify(signed, length, rollover - 1)).toBe(false);
    signed[length + 9] = (signed[length + 9] ?? 0) ^ 1;
    expect(cm.verify(signed, length, rollover)).toBe(false);
  });
});

describe('RFC 7714', () => {
  const key = createSecretKey(hex('000102030405060708090a0b0c0d0e0f'));
  const salt = hex('517569642070726f2071756f');
  const session = { key, salt, authKey: key };
  const keys: SrtpDirectionKeys = { profile: 'AEAD_AES_128_GCM', rtp: session, rtcp: session };
  // §16.1.1: "Gallia est omnis divisa in partes tres".
  const plain = hex(
    `8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976 69736120 696e2070 61727465 73207472 6573`,
  );
  const sealed = hex(
    `8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f 42a5f47a 51c7d19b 36de3adf
     8833899d 7f27beb1 6a9152cf 765ee439 0cce`,
  );

  it('encrypts and authenticates the packet of §16.1.1', () => {
    expect(new SrtpSender(keys).protectRtp(plain)).toEqual(sealed);
  });

  it('opens it again', () => {
    expect(new SrtpReceiver(keys).unprotectRtp(Buffer.from(sealed), 12)).toEqual(plain.subarray(12));
  });

  it('puts the SRTCP index where §9 wants it', () => {
    const rtcp = hex('81c8000b 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61 deadbeef');
    const out = new SrtpSender(keys).protectRtcp(rtcp);
    const iv = Buffer.concat([Buffer.alloc(2), rtcp.subarray(4, 8), Buffer.alloc(2), hex('00000001')]);
    iv.forEach((byte, index) => (iv[index] = byte ^ (salt[index] ?? 0)));
    const cipher = createCipheriv('aes-128-gcm', key, iv);
    cipher.setAAD(Buffer.concat([rtcp.subarray(0, 8), hex('80000001')]));
    const body = Buffer.concat([cipher.update(rtcp.subarray(8)), cipher.final()]);
    expect(out).toEqual(Buffer.concat([rtcp.subarray(0, 8), body, cipher.getAuthTag(), hex('80000001')]));
  });
});

describe.each(PROFILES)('%s', (profile) => {
  it('brings every packet across three rollovers, reordered and with losses', () => {
    const { a, b } = pair(profile);
    const random = seededRandom(7);
    const packets: { index: number; sealed: Buffer }[] = [];
    for (let index = 60_000; index < 60_000 + 3 * 65_536; index += random() < 0.2 ? 400 : 37) {
      const payload = Buffer.alloc(8);
      payload.writeUInt32BE(index, 0);
      packets.push({ index, sealed: a.sender.protectRtp(rtp(index & 0xffff, payload)) });
    }
    // Neighbours swapped in pairs of five: reordering also at the rollovers.
    const reordered = packets.flatMap((packet, at) =>
      at % 5 === 1 ? [] : at % 5 === 2 ? [packet, ...packets.slice(at - 1, at)] : [packet],
    );
    expect(reordered.length).toBeGreaterThanOrEqual(packets.length - 1);
    for (const { index, sealed } of reordered) {
      expect(b.receiver.unprotectRtp(sealed, 12)?.readUInt32BE(0)).toBe(index);
    }
  });

  it('refuses replays and packets older than the window, of RTP and of RTCP', () => {
    const { a, b } = pair(profile);
    const first = a.sender.protectRtp(rtp(1, Buffer.from('x')));
    expect(b.receiver.unprotectRtp(Buffer.from(first), 12)).toBeDefined();
    expect(b.receiver.unprotectRtp(Buffer.from(first), 12)).toBeUndefined();
    const late = a.sender.protectRtp(rtp(2, Buffer.from('x')));
    for (let sequence = 3; sequence < 1100; sequence += 1) {
      b.receiver.unprotectRtp(a.sender.protectRtp(rtp(sequence, Buffer.from('x'))), 12);
    }
    expect(b.receiver.unprotectRtp(late, 12)).toBeUndefined();
    expect(b.receiver.counters).toMatchObject({ replays: 2, authFailures: 0 });

    const report = Buffer.from('80c90001deadbeef', 'hex');
    const sealed = a.sender.protectRtcp(report);
    expect(b.receiver.unprotectRtcp(sealed)).toEqual(report);
    expect(b.receiver.unprotectRtcp(sealed)).toBeUndefined();
  });

  it('does not let a forged packet move the replay window', () => {
    const { a, b } = pair(profile);
    const forged = a.sender.protectRtp(rtp(30_000, Buffer.from('x')));
    forged[forged.length - 1] = (forged.at(-1) ?? 0) ^ 1;
    expect(b.receiver.unprotectRtp(forged, 12)).toBeUndefined();
    expect(b.receiver.unprotectRtp(a.sender.protectRtp(rtp(30_001, Buffer.from('y'))), 12)).toEqual(
      Buffer.from('y'),
    );
    expect(b.receiver.counters.authFailures).toBe(1);
  });

  it('notices every flipped bit', () => {
    const { a, b } = pair(profile);
    const sealed = a.sender.protectRtp(rtp(9, Buffer.from('payload')));
    for (let bit = 0; bit < sealed.length * 8; bit += 1) {
      const flipped = Buffer.from(sealed);
      flipped[bit >>> 3] = (flipped[bit >>> 3] ?? 0) ^ (1 << (bit & 7));
      expect(b.receiver.unprotectRtp(flipped, 12)).toBeUndefined();
    }
    expect(b.receiver.unprotectRtp(sealed, 12)).toEqual(Buffer.from('payload'));
  });

  it('never throws on garbage', () => {
    const { b } = pair(profile);
    const random = seededRandom(11);
    for (let round = 0; round < 3000; round += 1) {
      const garbage = Buffer.from(Array.from({ length: Math.floor(random() * 60) }, () => random() * 256));
      expect(b.receiver.unprotectRtcp(garbage)).toBeUndefined();
      expect(b.receiver.unprotectRtp(garbage, Math.floor(random() * 80) - 2)).toBeUndefined();
    }
  });
});
