import type { Socket } from 'node:dgram';
import { randomBytes } from 'node:crypto';
import { MediaStreamTrack, type RTCPeerConnection, type RTCRtpTransceiver } from 'werift';
import { writeRtpHeader } from '../../services/media/rtp/rtp-header.ts';
import { SrtpSender } from '../../services/media/rtp/srtp-sender.ts';
import { deriveSrtpKeys } from '../../services/media/rtp/srtp-keys.ts';
import type { LoadMessage, LoadReply } from './sfu-forward-messages.ts';
import { createPeer, PAYLOAD_TYPE, preferGcm, untilConnected } from './sfu-forward-peer.ts';

/** Generator and sinks: handshakes through werift, then packets encrypted beforehand go straight to the socket. */
const PAYLOAD_BYTES = 1180;
const PACKETS_PER_FRAME = 4;
const BURST_INTERVAL_MS = 2;

/** Where werift keeps the socket of a connected peer. */
type Connection = {
  protocols: { transport?: { socket: Socket } }[];
  nominated: { protocol: { transport: { socket: Socket } }; remoteAddr: [string, number] };
};

let publisher: { peer: RTCPeerConnection; transceiver: RTCRtpTransceiver } | undefined;
let pending: RTCPeerConnection | undefined;
let datagrams: Buffer[] = [];
let packetsPerSecond = 0;
let received = 0;

process.on('message', (message: LoadMessage) => {
  handle(message).catch((error: unknown) => {
    console.error(error);
    process.exit(1);
  });
});

async function handle(message: LoadMessage): Promise<void> {
  switch (message.type) {
    case 'offer': {
      const peer = createPeer();
      const transceiver =
        message.role === 'publisher'
          ? peer.addTransceiver(new MediaStreamTrack({ kind: 'video' }), { direction: 'sendonly' })
          : peer.addTransceiver('video', { direction: 'recvonly' });
      preferGcm(peer);
      await peer.setLocalDescription(await peer.createOffer());
      publisher ??= { peer, transceiver };
      pending = peer;
      tell({ type: 'offer', sdp: peer.localDescription?.sdp ?? '' });
      break;
    }
    case 'answer': {
      const peer = pending;
      await peer?.setRemoteDescription({ type: 'answer', sdp: message.sdp });
      if (peer !== undefined) {
        await untilConnected(peer);
        swallow(peer);
      }
      tell({ type: 'connected' });
      break;
    }
    case 'prepare':
      packetsPerSecond = message.packetsPerSecond;
      datagrams = encrypt(message.packetsPerSecond * message.seconds);
      tell({ type: 'prepared' });
      break;
    case 'start':
      received = 0;
      await send();
      // What is still in socket buffers.
      await new Promise((resolve) => setTimeout(resolve, 400));
      tell({ type: 'done', sent: datagrams.length, received });
      break;
  }
}

function connectionOf(peer: RTCPeerConnection): Connection {
  return peer.iceTransports[0]?.connection as unknown as Connection;
}

/** Counts media instead of decrypting it; everything else still reaches werift. */
function swallow(peer: RTCPeerConnection): void {
  for (const { transport } of connectionOf(peer).protocols) {
    const socket = transport?.socket;
    if (socket === undefined) {
      continue;
    }
    const listeners = socket.listeners('message');
    socket.removeAllListeners('message');
    socket.setRecvBufferSize(8 << 20);
    socket.setSendBufferSize(8 << 20);
    socket.on('message', (datagram: Buffer, from) => {
      const first = datagram[0] ?? 0;
      const isRtcp = ((datagram[1] ?? 0) & 0x7f) >= 64 && ((datagram[1] ?? 0) & 0x7f) < 96;
      if (first >= 128 && first < 192) {
        received += isRtcp ? 0 : 1;
        return;
      }
      for (const listener of listeners) {
        Reflect.apply(listener, socket, [datagram, from]);
      }
    });
  }
}

function encrypt(count: number): Buffer[] {
  if (publisher === undefined) {
    throw new Error('no publisher');
  }
  const { peer, transceiver } = publisher;
  const dtls = peer.dtlsTransports[0]?.dtls;
  const keys = dtls?.extractSessionKeys(16, 12) as { localKey: Buffer; localSalt: Buffer };
  const sender = new SrtpSender(
    deriveSrtpKeys('AEAD_AES_128_GCM', { key: keys.localKey, salt: keys.localSalt }),
  );
  const idOf = (part: string): number =>
    transceiver.headerExtensions.find(({ uri }) => uri.includes(part))?.id ?? 0;
  const payload = randomBytes(PAYLOAD_BYTES);
  // VP8 descriptor with a 15-bit PictureID, then a key frame header, in every packet.
  payload.set([0x90, 0x80, 0x80, 0x05, 0x10]);
  const packet = Buffer.alloc(64 + PAYLOAD_BYTES);
  return Array.from({ length: count }, (_, index) => {
    const headerLength = writeRtpHeader(packet, {
      payloadType: PAYLOAD_TYPE,
      marker: index % PACKETS_PER_FRAME === PACKETS_PER_FRAME - 1,
      sequenceNumber: index & 0xffff,
      timestamp: Math.floor(index / PACKETS_PER_FRAME) * 3000,
      ssrc: transceiver.sender.ssrc,
      extensions: [
        { id: idOf('sdes:mid'), data: Buffer.from('0') },
        { id: idOf('abs-send-time'), data: Buffer.alloc(3) },
        { id: idOf('transport-wide'), data: Buffer.from([(index >>> 8) & 0xff, index & 0xff]) },
      ],
    });
    payload.copy(packet, headerLength);
    return sender.protectRtp(packet.subarray(0, headerLength + PAYLOAD_BYTES));
  });
}

function send(): Promise<void> {
  if (publisher === undefined) {
    throw new Error('no publisher');
  }
  const { nominated } = connectionOf(publisher.peer);
  const { socket } = nominated.protocol.transport;
  const [address, port] = nominated.remoteAddr;
  const startMs = performance.now();
  let sent = 0;
  return new Promise((resolve) => {
    const timer = setInterval(() => {
      const elapsedMs = performance.now() - startMs;
      const due = Math.min(datagrams.length, Math.floor((elapsedMs * packetsPerSecond) / 1000));
      for (; sent < due; sent += 1) {
        socket.send(datagrams[sent] ?? '', port, address);
      }
      if (sent >= datagrams.length) {
        clearInterval(timer);
        resolve();
      }
    }, BURST_INTERVAL_MS);
  });
}

function tell(message: LoadReply): void {
  process.send?.(message);
}
