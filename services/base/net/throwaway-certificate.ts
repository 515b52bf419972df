import { generateKeyPairSync, randomBytes, sign } from 'node:crypto';

/** PEM texts. */
export type ThrowawayCertificate = { cert: string; key: string };

/** DER tags, ITU-T X.690 section 8. */
const TAG = { integer: 0x02, bits: 0x03, sequence: 0x30, time: 0x18 } as const;
/** ecdsa-with-SHA256, RFC 5758 section 3.2. */
const ECDSA_WITH_SHA256 = Buffer.from('300a06082a8648ce3d040302', 'hex');

/**
 * A certificate that proves nothing (X.509 version 1 without names, RFC 5280 section 4.1), for peers that do not check:
 * TLS between two ends on this machine where one can do no less.
 */
export function throwawayCertificate(): ThrowawayCertificate {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const noName = der(TAG.sequence);
  const validity = der(TAG.sequence, time('20000101000000Z'), time('99991231235959Z'));
  const serial = Buffer.concat([Buffer.from([1]), randomBytes(8)]);
  const content = der(
    TAG.sequence,
    ...[der(TAG.integer, serial), ECDSA_WITH_SHA256, noName, validity, noName],
    publicKey.export({ type: 'spki', format: 'der' }),
  );
  const signature = sign('sha256', content, privateKey);
  const certificate = der(
    TAG.sequence,
    ...[content, ECDSA_WITH_SHA256, der(TAG.bits, Buffer.from([0]), signature)],
  );
  const lines = certificate.toString('base64').replace(/.{64}/g, '$&\n');
  return {
    cert: `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`,
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
  };
}

function time(text: string): Buffer {
  return der(TAG.time, Buffer.from(text));
}

function der(tag: number, ...parts: Buffer[]): Buffer {
  const { length } = Buffer.concat(parts);
  const long = length < 0x80 ? [] : length < 0x100 ? [0x81] : [0x82, length >> 8];
  return Buffer.concat([Buffer.from([tag, ...long, length & 0xff]), ...parts]);
}
