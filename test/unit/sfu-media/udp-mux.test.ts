import { RtpHeader, RtpPacket } from 'werift';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createLogger } from '../../../services/base/logger.ts';
import { buildStunBinding } from '../../../services/protocol/stun.ts';
import type { DataChannel, Forwarder, PeerTransport, UdpMux } from '../../../services/sfu/media-types.ts';
import { createUdpMux } from '../../../services/sfu/transport/udp-mux.ts';
import { createDtlsCertificate } from '../../../services/sfu/transport/dtls-certificate.ts';
import { seededRandom } from '../rtp/seeded-random.ts';
import { StunClient } from './stun-client.ts';
import { CM, GCM, offerFromWerift, VP8_PAYLOAD_TYPE, type WeriftPeer } from './werift-peer.ts';

const logger = createLogger({ level: (process.env['TEST_LOG'] as 'debug' | undefined) ?? 'silent' });
const CODEC = { name: 'vp8', payloadType: VP8_PAYLOAD_TYPE, rtxPayloadType: 0, clockRateHz: 90000 } as const;
/** Key frame with 15-bit PictureID and TL0PICIDX. */
const VP8_KEY = Buffer.from([0x90, 0xc0, 0x80, 0x05, 0x01, 0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a]);

let mux: UdpMux;
const opened: WeriftPeer[] = [];

beforeEach(async () => {
  mux = await createUdpMux({
    port: 0,
    bindAddress: '127.0.0.1',
    advertiseAddresses: ['127.0.0.1'],
    logger,
  });
});

afterEach(async () => {
  await Promise.all(opened.splice(0).map((peer) => peer.close()));
  await mux.close();
});

async function connect(options: Parameters<typeof offerFromWerift>[1]): Promise<WeriftPeer> {
  const peer = await offerFromWerift(mux, options);
  opened.push(peer);
  return peer;
}

function stateReached(transport: PeerTransport, wanted: string): Promise<void> {
  return new Promise((resolve) => {
    if (transport.state === wanted) {
      resolve();
      return;
    }
    const off = transport.events.on('state', (state) => {
      if (state === wanted) {
        off();
        resolve();
      }
    });
  });
}

function clientConnected({ pc }: WeriftPeer): Promise<void> {
  return new Promise((resolve) => {
    const check = (): void => {
      if (pc.connectionState === 'connected') {
        resolve();
      }
    };
    pc.connectionStateChange.subscribe(check);
    check();
  });
}

function channelOf(transport: PeerTransport): Promise<DataChannel> {
  return new Promise((resolve) => transport.events.once('dataChannel', resolve));
}

describe.each([
  ['AEAD_AES_128_GCM', GCM],
  ['AES_CM_128_HMAC_SHA1_80', CM],
])('with %s', (_name, profile) => {
  it('carries video from one werift peer to another and data both ways', async () => {
    const publisher = await connect({ label: 'pub', direction: 'sendonly', profile });
    const publication = publisher.transport.media.addPublication({
      mid: publisher.mid,
      kind: 'video',
      codec: CODEC,
      rids: [],
      layerByRid: new Map(),
      ssrcs: new Map([[publisher.ssrc, 0]]),
    });
    let forwarder: Forwarder | undefined;
    const subscriber = await connect({
      label: 'sub',
      direction: 'recvonly',
      profile,
      announce: (transport) => {
        forwarder = transport.media.createForwarder(publication);
        return forwarder.ssrc;
      },
    });
    const serverChannel = channelOf(publisher.transport);
    await Promise.all([
      stateReached(publisher.transport, 'connected'),
      stateReached(subscriber.transport, 'connected'),
      clientConnected(publisher),
      clientConnected(subscriber),
    ]);
    forwarder?.bind({
      mid: subscriber.mid,
      payloadType: VP8_PAYLOAD_TYPE,
      rtxPayloadType: 0,
      absSendTimeId: subscriber.extensionId('abs-send-time'),
      transportCcId: subscriber.extensionId('transport-wide-cc'),
      dependencyDescriptorId: 0,
    });

    expect(publisher.pc.dtlsTransports[0]?.dtls?.srtp.srtpProfile).toBe(profile);

    const received: { sequenceNumber: number; payload: Buffer }[] = [];
    const enough = new Promise<void>((resolve) => {
      for (const track of subscriber.transceiver.receiver.tracks) {
        track.onReceiveRtp.subscribe((packet) => {
          received.push({
            sequenceNumber: packet.header.sequenceNumber,
            payload: Buffer.from(packet.payload),
          });
          if (received.length === 20) {
            resolve();
          }
        });
      }
    });
    for (let index = 0; index < 20; index += 1) {
      const header = new RtpHeader();
      header.payloadType = VP8_PAYLOAD_TYPE;
      header.sequenceNumber = (65530 + index) & 0xffff;
      header.timestamp = index * 3000;
      header.ssrc = publisher.ssrc;
      header.marker = true;
      const payload = Buffer.from(VP8_KEY);
      payload[5] = index;
      await publisher.transceiver.sender.sendRtp(new RtpPacket(header, payload));
    }
    await enough;
    expect(received.map(({ payload }) => payload[5])).toEqual(Array.from({ length: 20 }, (_, i) => i));
    expect(publication.layers()[0]).toMatchObject({ packets: 20, lost: 0, active: true });

    const channel = await serverChannel;
    expect(channel.label).toBe('_reliable');
    const toServer = new Promise<Uint8Array>((resolve) => channel.events.once('message', resolve));
    publisher.channel.send(Buffer.from('to the server'));
    expect(Buffer.from(await toServer).toString()).toBe('to the server');
    const toClient = new Promise<string | Buffer>((resolve) => publisher.channel.onMessage.once(resolve));
    channel.send(Buffer.from('to the client'));
    expect((await toClient).toString()).toBe('to the client');

    const opened = new Promise<string>((resolve) => {
      subscriber.pc.onDataChannel.subscribe(({ label }) => resolve(label));
    });
    subscriber.transport.openDataChannel('_lossy', { ordered: false, maxRetransmits: 0 });
    expect(await opened).toBe('_lossy');
  });
});

describe('DTLS', () => {
  it('also works when the SFU sends the ClientHello', async () => {
    const peer = await connect({ label: 'whip', direction: 'sendonly', profile: GCM, setup: 'active' });
    await stateReached(peer.transport, 'connected');
    expect(peer.transport.state).toBe('connected');
  });

  it('refuses a certificate that is not the one in the SDP', async () => {
    const peer = await connect({
      label: 'mitm',
      direction: 'sendonly',
      profile: GCM,
      fingerprint: (real) => real.replace(/^../, real.startsWith('00') ? '01' : '00'),
    });
    await stateReached(peer.transport, 'failed');
    expect(peer.transport.state).toBe('failed');
  });
});

describe('an attacker on the path', () => {
  it.each(['passive', 'active'] as const)(
    'cannot use a copied certificate without its key (SFU %s)',
    async (setup) => {
      const other = await createDtlsCertificate();
      const peer = await connect({
        label: 'mitm',
        direction: 'sendonly',
        profile: GCM,
        setup,
        stolenCertificateKey: other.keyPem,
      });
      await stateReached(peer.transport, 'failed');
      expect(peer.transport.state).toBe('failed');
    },
  );
});

describe('a client that misbehaves after the handshake', () => {
  it('only hurts its own channels with malformed SCTP, and nobody with plain DTLS records', async () => {
    const peer = await connect({ label: 'rude', direction: 'sendonly', profile: GCM });
    const serverChannel = channelOf(peer.transport);
    await Promise.all([stateReached(peer.transport, 'connected'), clientConnected(peer)]);
    const channel = await serverChannel;
    const dtls = peer.pc.dtlsTransports[0]?.dtls;
    const random = seededRandom(17);
    const garbage = (length: number): Buffer =>
      Buffer.from(Array.from({ length }, () => Math.floor(random() * 256)));
    for (let round = 0; round < 500; round += 1) {
      await dtls?.send(garbage(Math.floor(random() * 100)));
    }
    // A message with a protocol id nobody knows, on a channel that exists.
    await peer.channel.sctp.sctp.send(peer.channel.id, 4711, Buffer.from('?'), { ordered: true });
    // Forged alert (close_notify) and ClientHello in the clear, as an attacker on the path would inject them.
    const alert = Buffer.from('15fefd000000000000000900020100', 'hex');
    const hello = Buffer.concat([Buffer.from('16fefd0000000000000009000c', 'hex'), Buffer.alloc(12, 1)]);
    for (const record of [alert, hello, garbage(40)]) {
      await dtls?.transport.send(record);
    }
    const message = new Promise<Uint8Array>((resolve) => channel.events.once('message', resolve));
    peer.channel.send(Buffer.from('still here'));
    expect(Buffer.from(await message).toString()).toBe('still here');
    expect(peer.transport.state).toBe('connected');
  });

  it('is told gone when it closes DTLS', async () => {
    const peer = await connect({ label: 'bye', direction: 'sendonly', profile: GCM });
    await Promise.all([stateReached(peer.transport, 'connected'), clientConnected(peer)]);
    const dtls = peer.pc.dtlsTransports[0]?.dtls;
    const record: unknown = {
      recordLayerHeader: {
        contentType: 21,
        protocolVersion: { major: 254, minor: 253 },
        epoch: 1,
        sequenceNumber: 999,
        contentLen: 2,
      },
      fragment: Buffer.from([1, 0]),
      serialize: () => Buffer.alloc(0),
    };
    const encrypted = dtls?.cipher.encryptPacket(record as Parameters<typeof dtls.cipher.encryptPacket>[0]);
    const fragment = encrypted?.fragment ?? Buffer.alloc(0);
    const header = Buffer.from('15fefd00010000000003e70000', 'hex');
    header.writeUInt16BE(fragment.length, 11);
    const failed = stateReached(peer.transport, 'failed');
    await dtls?.transport.send(Buffer.concat([header, fragment]));
    await failed;
    expect(peer.transport.state).toBe('failed');
  });
});

describe('ICE', () => {
  it('keeps the old credentials through a restart until the peer has moved to the new ones', async () => {
    const transport = mux.createTransport({ label: 'restart' });
    await transport.setRemote({ ufrag: 'first', fingerprint: '00' });
    const before = { ufrag: transport.localUfrag, pwd: transport.localPwd };
    const client = await StunClient.open(mux.port);
    expect(await client.check(before)).toBe(true);
    await transport.setRemote({ ufrag: 'second', fingerprint: '00' });
    const after = { ufrag: transport.localUfrag, pwd: transport.localPwd };
    expect(after.ufrag).not.toBe(before.ufrag);
    expect(await client.check(before)).toBe(true);
    expect(await client.check(after)).toBe(true);
    // Nominated with the new ones: the old ones are void, so only the second answer comes.
    expect(await client.firstAnswered(before, after)).toBe(after);
    await client.close();
    await transport.close('test over');
  });

  it('answers only checks with the right password, and nothing else from strangers', async () => {
    const transport = mux.createTransport({ label: 'check' });
    const client = await StunClient.open(mux.port);
    const real = { ufrag: transport.localUfrag, pwd: transport.localPwd };
    client.sendRaw(Buffer.from([22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
    client.sendRaw(Buffer.alloc(0));
    expect(await client.firstAnswered({ ...real, pwd: 'wrong' }, real)).toBe(real);
    expect(await client.firstAnswered({ ...real, ufrag: 'nobody' }, real)).toBe(real);
    expect(client.lastMappedAddress).toEqual({ address: '127.0.0.1', port: client.port });
    await client.close();
    await transport.close('test over');
  });

  it('does not let one participant take the address of another', async () => {
    const victim = await connect({ label: 'victim', direction: 'sendonly', profile: GCM });
    const [channel] = await Promise.all([
      channelOf(victim.transport),
      stateReached(victim.transport, 'connected'),
      clientConnected(victim),
    ]);
    const thief = mux.createTransport({ label: 'thief' });
    await thief.setRemote({ ufrag: 'thief', fingerprint: '00' });
    // What a forged source address looks like to the mux: a valid check of the thief from the victim's socket.
    const check = buildStunBinding({
      class: 'request',
      transactionId: Buffer.alloc(12, 3),
      username: `${thief.localUfrag}:thief`,
      password: thief.localPwd,
      useCandidate: true,
    });
    await victim.pc.dtlsTransports[0]?.dtls?.transport.send(check);
    const message = new Promise<Uint8Array>((resolve) => channel.events.once('message', resolve));
    victim.channel.send(Buffer.from('mine'));
    expect(Buffer.from(await message).toString()).toBe('mine');
    await thief.close('test over');
  });

  it('serves IPv6', async () => {
    const six = await createUdpMux({
      port: 0,
      bindAddress: '::1',
      advertiseAddresses: [],
      logger,
    });
    const transport = six.createTransport({ label: 'six' });
    expect(transport.candidates).toEqual([
      expect.stringMatching(new RegExp(`^candidate:1 1 udp \\d+ ::1 ${six.port} typ host$`)),
    ]);
    const client = await StunClient.open(six.port, '::1');
    const credentials = { ufrag: transport.localUfrag, pwd: transport.localPwd };
    expect(await client.check(credentials)).toBe(true);
    expect(client.lastMappedAddress).toEqual({ address: '0:0:0:0:0:0:0:1', port: client.port });
    // Over the connected socket as well.
    expect(await client.check(credentials)).toBe(true);
    await client.close();
    await six.close();
  });

  it('will not share its port with another process that binds it alone', async () => {
    await expect(
      createUdpMux({ port: mux.port, bindAddress: '127.0.0.1', advertiseAddresses: [], logger }),
    ).rejects.toMatchObject({ code: 'unavailable' });
  });
});
