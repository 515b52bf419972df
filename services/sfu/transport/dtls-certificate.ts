import { createSelfSignedCertificate, type RTCCertificate } from 'werift';
import { X509Certificate } from 'node:crypto';
import { certificateFingerprint } from '../../media/rtp/dtls-handshake-check.ts';

/** werift's codes for ECDSA with SHA-256 on P-256 (RFC 5246 §7.4.1.4.1, RFC 8422 §5.1.1). */
const SIGNATURE_HASH = { signature: 3, hash: 4 } as const;
const SECP256R1 = 23;

export type DtlsCertificate = {
  certPem: string;
  keyPem: string;
  signatureHash: RTCCertificate['signatureHash'];
  /** SHA-256, upper-case hex pairs joined by ':'. */
  fingerprint: string;
};

/** A fresh self-signed certificate; it lives as long as the process, WebRTC pins it by fingerprint. */
export async function createDtlsCertificate(): Promise<DtlsCertificate> {
  const { certPem, keyPem, signatureHash } = await createSelfSignedCertificate(SIGNATURE_HASH, SECP256R1);
  return {
    certPem,
    keyPem,
    signatureHash,
    fingerprint: certificateFingerprint(new X509Certificate(certPem).raw),
  };
}
