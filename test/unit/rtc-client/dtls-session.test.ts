import { describe, expect, it } from 'vitest';
import { rtpHeaderLength, writeRtpHeader } from '../../../services/media/rtp/rtp-header.ts';
import { DtlsSession, localCertificate } from '../../../services/rtc-client/dtls-session.ts';

/**
 * A client and a server that expect each other's certificate.
 * @param copies how often the client's next datagram arrives.
 */
async function pair(
  change: (fingerprint: string) => string = (fingerprint) => fingerprint,
  copies: () => number = () => 1,
) {
  const certificate = await localCertificate();
  const { fingerprint } = certificate;
  const client: DtlsSession = new DtlsSession({
    role: 'client',
    certificate,
    remoteFingerprint: change(fingerprint),
    send: (datagram) => {
      for (let copy = copies(); copy > 0; copy -= 1) {
        setImmediate(() => server.receive(Buffer.from(datagram)));
      }
    },
  });
  const server: DtlsSession = new DtlsSession({
    role: 'server',
    certificate,
    remoteFingerprint: fingerprint,
    send: (datagram) => setImmediate(() => client.receive(datagram)),
  });
  return { client, server };
}

describe('DtlsSession', () => {
  it('gives both roles SRTP keys that fit each other, of the profile that costs less', async () => {
    const { client, server } = await pair();
    const [ours, theirs] = await Promise.all([server.handshake(), client.handshake()]);
    expect(ours.profile).toBe('AES_CM_128_HMAC_SHA1_80');
    const packet = Buffer.alloc(60, 7);
    writeRtpHeader(packet, { payloadType: 96, marker: true, sequenceNumber: 1, timestamp: 2, ssrc: 3 });
    for (const [from, to] of [
      [ours, theirs],
      [theirs, ours],
    ] as const) {
      const protectedPacket = from.sender.protectRtp(packet);
      const payload = to.receiver.unprotectRtp(protectedPacket, rtpHeaderLength(protectedPacket));
      expect(payload?.equals(packet.subarray(12))).toBe(true);
    }
    client.close();
    server.close();
  });

  it('as a server may be done before anybody waits: a peer need not wait for our ICE checks', async () => {
    const { client, server } = await pair();
    const theirs = await client.handshake();
    const ours = await server.handshake();
    expect(ours.profile).toBe(theirs.profile);
    client.close();
    server.close();
  });

  it('goes on when its first message was answered twice, as when the first answer is late', async () => {
    let sent = 0;
    const { client, server } = await pair(undefined, () => (++sent === 1 ? 2 : 1));
    const [ours, theirs] = await Promise.all([server.handshake(), client.handshake()]);
    expect(ours.profile).toBe(theirs.profile);
    client.close();
    server.close();
  });

  it('refuses a certificate that signalling did not announce', async () => {
    const { client, server } = await pair((fingerprint) =>
      fingerprint.replace(/^../, fingerprint.startsWith('00') ? '01' : '00'),
    );
    const [refused] = await Promise.allSettled([client.handshake(), server.handshake()]);
    expect(refused).toMatchObject({ status: 'rejected', reason: { code: 'unauthenticated' } });
    client.close();
    server.close();
  });
});
