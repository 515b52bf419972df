import { describe, expect, it } from 'vitest';
import { rtpHeaderLength, writeRtpHeader } from '../../../services/media/rtp/rtp-header.ts';
import { DtlsSession, localCertificate } from '../../../services/rtc-client/dtls-session.ts';

async function pair() {
  const certificate = await localCertificate();
  const client: DtlsSession = new DtlsSession({
    role: 'client',
    certificate,
    send: (datagram) => setImmediate(() => server.receive(datagram)),
  });
  const server: DtlsSession = new DtlsSession({
    role: 'server',
    certificate,
    send: (datagram) => setImmediate(() => client.receive(datagram)),
  });
  return { client, server, fingerprint: certificate.fingerprint };
}

describe('DtlsSession', () => {
  it('gives both roles SRTP keys that fit each other, GCM first', async () => {
    const { client, server, fingerprint } = await pair();
    const [ours, theirs] = await Promise.all(
      [server, client].map((session) => session.handshake(fingerprint)),
    );
    expect(ours?.profile).toBe('AEAD_AES_128_GCM');
    const packet = Buffer.alloc(60, 7);
    writeRtpHeader(packet, { payloadType: 96, marker: true, sequenceNumber: 1, timestamp: 2, ssrc: 3 });
    for (const [from, to] of [
      [ours, theirs],
      [theirs, ours],
    ]) {
      const protectedPacket = from?.sender.protectRtp(packet) ?? Buffer.alloc(0);
      const payload = to?.receiver.unprotectRtp(protectedPacket, rtpHeaderLength(protectedPacket));
      expect(payload?.equals(packet.subarray(12))).toBe(true);
    }
    client.close();
    server.close();
  });

  it('refuses a certificate that signalling did not announce', async () => {
    const { client, server, fingerprint } = await pair();
    const wrong = fingerprint.replace(/^../, fingerprint.startsWith('00') ? '01' : '00');
    const [refused] = await Promise.allSettled([client.handshake(wrong), server.handshake(fingerprint)]);
    expect(refused).toMatchObject({ status: 'rejected', reason: { code: 'unauthenticated' } });
    client.close();
    server.close();
  });
});
