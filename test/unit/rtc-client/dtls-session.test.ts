import { describe, expect, it } from 'vitest';
import { rtpHeaderLength, writeRtpHeader } from '../../../services/media/rtp/rtp-header.ts';
import { DtlsSession, localCertificate } from '../../../services/rtc-client/dtls-session.ts';

type Side = 'client' | 'server';
/** What arrives of the datagram that `from` sends as its `index`th. */
type Network = (from: Side, index: number, datagram: Buffer) => readonly Buffer[];

/** A client and a server that expect each other's certificate. */
async function pair(
  change: (fingerprint: string) => string = (fingerprint) => fingerprint,
  network: Network = (_from, _index, datagram) => [datagram],
) {
  const certificate = await localCertificate();
  const { fingerprint } = certificate;
  const sent = { client: 0, server: 0 };
  const sender = (from: Side, receiver: () => DtlsSession) => (datagram: Buffer) => {
    for (const arriving of network(from, sent[from]++, datagram)) {
      setImmediate(() => receiver().receive(Buffer.from(arriving)));
    }
  };
  const client: DtlsSession = new DtlsSession({
    role: 'client',
    certificate,
    remoteFingerprint: change(fingerprint),
    send: sender('client', () => server),
  });
  const server: DtlsSession = new DtlsSession({
    role: 'server',
    certificate,
    remoteFingerprint: fingerprint,
    send: sender('server', () => client),
  });
  return { client, server };
}

async function expectHandshake(network: Network): Promise<void> {
  const { client, server } = await pair(undefined, network);
  const [ours, theirs] = await Promise.all([server.handshake(), client.handshake()]);
  expect(ours.profile).toBe(theirs.profile);
  client.close();
  server.close();
}

const RECORD_HEADER_LENGTH = 13;
const MESSAGE_HEADER_LENGTH = 12;
const HANDSHAKE = 22;

/** The one handshake message of a datagram in the clear as pieces of at most `length` bytes, the last one first. */
function cut(datagram: Buffer, length: number): Buffer[] {
  const isPlainHandshake = datagram[0] === HANDSHAKE && datagram.readUInt16BE(3) === 0;
  const headersLength = RECORD_HEADER_LENGTH + MESSAGE_HEADER_LENGTH;
  const body = datagram.subarray(headersLength);
  const whole = datagram.readUIntBE(Math.min(RECORD_HEADER_LENGTH + 1, datagram.length - 3), 3);
  if (!isPlainHandshake || body.length !== whole || whole <= length) {
    return [datagram];
  }
  const pieces: Buffer[] = [];
  for (let from = 0; from < whole; from += length) {
    const part = body.subarray(from, from + length);
    const piece = Buffer.concat([datagram.subarray(0, headersLength), part]);
    piece.writeUInt16BE(MESSAGE_HEADER_LENGTH + part.length, RECORD_HEADER_LENGTH - 2);
    piece.writeUIntBE(from, RECORD_HEADER_LENGTH + 6, 3);
    piece.writeUIntBE(part.length, RECORD_HEADER_LENGTH + 9, 3);
    pieces.unshift(piece);
  }
  return pieces;
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
    await expectHandshake((from, index, datagram) =>
      from === 'client' && index === 0 ? [datagram, datagram] : [datagram],
    );
  });

  it.each<Side>(['client', 'server'])('goes on when any one datagram of the %s is lost', async (loser) => {
    // Each side needs five or six datagrams.
    const handshakes = Array.from({ length: 7 }, (_, lost) =>
      expectHandshake((from, index, datagram) => (from === loser && index === lost ? [] : [datagram])),
    );
    await Promise.all(handshakes);
  });

  it('goes on when everything comes twice', async () => {
    await expectHandshake((_from, _index, datagram) => [datagram, datagram]);
  });

  it('goes on when a first message comes again late', async () => {
    let first: Buffer | undefined;
    await expectHandshake((from, index, datagram) => {
      first ??= datagram;
      return from === 'client' && index === 2 ? [first, datagram] : [datagram];
    });
  });

  it('puts together messages that come in pieces, the last one first', async () => {
    await expectHandshake((_from, _index, datagram) => cut(datagram, 50));
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
