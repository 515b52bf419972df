import {
  X509Certificate,
  constants,
  createHash,
  createHmac,
  timingSafeEqual,
  verify,
  type VerifyKeyObjectInput,
} from 'node:crypto';
import { ServiceError } from '../../base/errors.ts';
import { readU16, readU24 } from './bytes.ts';

/**
 * werift completes a DTLS 1.2 handshake without looking at the signatures and at the Finished data. A fingerprint alone
 * then proves nothing: certificates travel in the clear, anybody on the path could show the real one. This checks what
 * RFC 5246 §7.4.3, §7.4.8 and §7.4.9 demand, on the recorded transcript.
 */
const HANDSHAKE = { certificate: 11, serverKeyExchange: 12, certificateVerify: 15 } as const;

export type DtlsHandshakeMessage = {
  type: number;
  body: Buffer;
  /** The message as hashed: DTLS header with fragment offset 0, then the body. */
  bytes: Buffer;
};

export type DtlsHandshake = {
  /** Which side the remote is. */
  remoteRole: 'client' | 'server';
  /** In order, from the second ClientHello on, without the remote's Finished; for a server including our Finished. */
  transcript: readonly DtlsHandshakeMessage[];
  /** Body of the remote's Finished, 12 bytes. */
  finished: Buffer;
  masterSecret: Buffer;
  clientRandom: Buffer;
  serverRandom: Buffer;
  /** From SDP: `AB:CD:…`, optionally with `sha-256 ` (or sha-384, sha-512) in front. */
  fingerprint: string;
};

/**
 * Proves that the remote owns the certificate announced in SDP and saw the same handshake.
 * Throws ServiceError `unauthenticated` saying which proof failed.
 */
export function checkDtlsHandshake(handshake: DtlsHandshake): void {
  const certificate = remoteCertificate(handshake);
  if (!fingerprintMatches(certificate, handshake.fingerprint)) {
    throw refuse('the certificate does not match the fingerprint in the SDP');
  }
  const publicKey = new X509Certificate(certificate).publicKey;
  const signed =
    handshake.remoteRole === 'client' ? certificateVerify(handshake) : serverKeyExchange(handshake);
  if (!signatureMatches(signed, publicKey)) {
    throw refuse('the handshake signature does not belong to the certificate');
  }
  const hash = createHash('sha256');
  for (const message of handshake.transcript) {
    hash.update(message.bytes);
  }
  const label = handshake.remoteRole === 'client' ? 'client finished' : 'server finished';
  const expected = prf(handshake.masterSecret, label, hash.digest(), 12);
  if (handshake.finished.length !== 12 || !timingSafeEqual(expected, handshake.finished)) {
    throw refuse('the Finished message does not fit the handshake');
  }
}

function refuse(reason: string): ServiceError {
  return new ServiceError('unauthenticated', `DTLS: ${reason}`);
}

type SignedData = { algorithm: number; data: Buffer; signature: Buffer };

function only(handshake: DtlsHandshake, type: number, name: string): DtlsHandshakeMessage {
  // Of two certificates in the transcript the client's comes last, the server's first.
  const matching = handshake.transcript.filter((message) => message.type === type);
  const found = handshake.remoteRole === 'client' ? matching.at(-1) : matching[0];
  if (found === undefined) {
    throw refuse(`the remote sent no ${name}`);
  }
  return found;
}

/** First certificate of the list, DER. */
function remoteCertificate(handshake: DtlsHandshake): Buffer {
  const { body } = only(handshake, HANDSHAKE.certificate, 'Certificate');
  const length = readU24(body, 3);
  if (length === 0 || 6 + length > body.length) {
    throw refuse('the remote sent an empty or cut certificate');
  }
  return body.subarray(6, 6 + length);
}

/** The client signs all messages before its CertificateVerify. */
function certificateVerify(handshake: DtlsHandshake): SignedData {
  const message = only(handshake, HANDSHAKE.certificateVerify, 'CertificateVerify');
  const before = handshake.transcript.slice(0, handshake.transcript.indexOf(message));
  return {
    algorithm: readU16(message.body, 0),
    data: Buffer.concat(before.map(({ bytes }) => bytes)),
    signature: message.body.subarray(4, 4 + readU16(message.body, 2)),
  };
}

/** The server signs both randoms and its ephemeral key (RFC 8422 §5.4). */
function serverKeyExchange(handshake: DtlsHandshake): SignedData {
  const { body } = only(handshake, HANDSHAKE.serverKeyExchange, 'ServerKeyExchange');
  const parametersEnd = 4 + (body[3] ?? 0);
  return {
    algorithm: readU16(body, parametersEnd),
    data: Buffer.concat([handshake.clientRandom, handshake.serverRandom, body.subarray(0, parametersEnd)]),
    signature: body.subarray(parametersEnd + 4, parametersEnd + 4 + readU16(body, parametersEnd + 2)),
  };
}

const PSS = {
  padding: constants.RSA_PKCS1_PSS_PADDING,
  saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
};

/** TLS SignatureScheme → digest and padding; SHA-1 and MD5 are refused. */
const SIGNATURE_SCHEMES: ReadonlyMap<
  number,
  { hash: string; keyType: string; options?: Partial<VerifyKeyObjectInput> }
> = new Map([
  [0x0401, { hash: 'sha256', keyType: 'rsa' }],
  [0x0501, { hash: 'sha384', keyType: 'rsa' }],
  [0x0601, { hash: 'sha512', keyType: 'rsa' }],
  [0x0403, { hash: 'sha256', keyType: 'ec' }],
  [0x0503, { hash: 'sha384', keyType: 'ec' }],
  [0x0603, { hash: 'sha512', keyType: 'ec' }],
  [0x0804, { hash: 'sha256', keyType: 'rsa', options: PSS }],
  [0x0805, { hash: 'sha384', keyType: 'rsa', options: PSS }],
  [0x0806, { hash: 'sha512', keyType: 'rsa', options: PSS }],
]);

function signatureMatches(signed: SignedData, publicKey: X509Certificate['publicKey']): boolean {
  const scheme = SIGNATURE_SCHEMES.get(signed.algorithm);
  if (scheme === undefined || publicKey.asymmetricKeyType !== scheme.keyType) {
    return false;
  }
  return verify(scheme.hash, signed.data, { key: publicKey, ...scheme.options }, signed.signature);
}

function fingerprintMatches(certificate: Buffer, fingerprint: string): boolean {
  const parts = fingerprint.trim().split(/\s+/);
  const value = parts.at(-1) ?? '';
  const algorithm = parts.length > 1 ? (parts[0] ?? '').toLowerCase() : 'sha-256';
  if (!['sha-256', 'sha-384', 'sha-512'].includes(algorithm)) {
    return false;
  }
  const actual = createHash(algorithm.replace('-', '')).update(certificate).digest();
  const expected = Buffer.from(value.replaceAll(':', ''), 'hex');
  return expected.length === actual.length && timingSafeEqual(expected, actual);
}

/** P_SHA256 of RFC 5246 §5; every cipher suite werift offers uses it. */
export function prf(secret: Buffer, label: string, seed: Buffer, length: number): Buffer {
  const labelled = Buffer.concat([Buffer.from(label, 'latin1'), seed]);
  const out: Buffer[] = [];
  let chain = labelled;
  for (let produced = 0; produced < length; produced += 32) {
    chain = createHmac('sha256', secret).update(chain).digest();
    out.push(createHmac('sha256', secret).update(chain).update(labelled).digest());
  }
  return Buffer.concat(out).subarray(0, length);
}

/** `AB:CD:…` as SDP writes it. */
export function certificateFingerprint(der: Buffer): string {
  const hex = createHash('sha256').update(der).digest('hex').toUpperCase();
  return (hex.match(/../g) ?? []).join(':');
}
