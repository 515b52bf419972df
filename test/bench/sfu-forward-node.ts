import type { RTCRtpTransceiver } from 'werift';
import { createLogger } from '../../services/base/logger.ts';
import type { Forwarder, PeerTransport, Publication, UdpMux } from '../../services/sfu/media-types.ts';
import { createUdpMux } from '../../services/sfu/transport/udp-mux.ts';
import type { NodeMessage, NodeReply } from './sfu-forward-messages.ts';
import { createPeer, PAYLOAD_TYPE, preferGcm, untilConnected } from './sfu-forward-peer.ts';

/** The node under test: accepts one publisher and N receivers, and forwards. */
type Implementation = {
  /** Returns the answer. */
  connect(role: 'publisher' | 'receiver', offer: string): Promise<string>;
  /** Resolves when everybody is connected. */
  settle(): Promise<void>;
  packetsOut(): number;
};

const implementation = process.argv[2] === 'werift' ? createWerift() : await createSluice();
let cpuBefore = process.cpuUsage();
let packetsBefore = 0;

process.on('message', (message: NodeMessage) => {
  handle(message).catch((error: unknown) => {
    console.error(error);
    process.exit(1);
  });
});

async function handle(message: NodeMessage): Promise<void> {
  switch (message.type) {
    case 'connect':
      tell({ type: 'answer', sdp: await implementation.connect(message.role, message.sdp) });
      break;
    case 'settle':
      await implementation.settle();
      tell({ type: 'settled' });
      break;
    case 'start':
      packetsBefore = implementation.packetsOut();
      cpuBefore = process.cpuUsage();
      tell({ type: 'started' });
      break;
    case 'stop': {
      const cpu = process.cpuUsage(cpuBefore);
      tell({
        type: 'result',
        cpuSeconds: (cpu.user + cpu.system) / 1e6,
        packetsOut: implementation.packetsOut() - packetsBefore,
      });
      break;
    }
  }
}

function tell(message: NodeReply): void {
  process.send?.(message);
}

async function createSluice(): Promise<Implementation> {
  const mux: UdpMux = await createUdpMux({
    port: 0,
    bindAddress: '127.0.0.1',
    advertiseAddresses: ['127.0.0.1'],
    logger: createLogger({ level: 'error' }),
  });
  const transports: PeerTransport[] = [];
  const forwarders: Forwarder[] = [];
  let publication: Publication | undefined;
  return {
    connect: async (role, offer) => {
      const transport = mux.createTransport({ label: role });
      transports.push(transport);
      const first = (pattern: RegExp): string => pattern.exec(offer)?.[1] ?? '';
      await transport.setRemote({
        ufrag: first(/^a=ice-ufrag:(\S+)/m),
        fingerprint: first(/^a=fingerprint:sha-256 (\S+)/m),
      });
      const mid = first(/^a=mid:(\S+)/m);
      const id = (uri: string): number => Number(first(new RegExp(`^a=extmap:(\\d+) \\S*${uri}`, 'm')));
      let ssrc = 0;
      if (role === 'publisher') {
        transport.media.extensions.mid = id('sdes:mid');
        transport.media.extensions.transportCc = id('transport-wide');
        publication = transport.media.addPublication({
          mid,
          kind: 'video',
          codec: { name: 'vp8', payloadType: PAYLOAD_TYPE, rtxPayloadType: 0, clockRateHz: 90_000 },
          rids: [],
          layerByRid: new Map(),
          ssrcs: new Map([[Number(first(/^a=ssrc:(\d+)/m)), 0]]),
        });
      } else if (publication !== undefined) {
        const forwarder = transport.media.createForwarder(publication);
        ({ ssrc } = forwarder);
        forwarder.bind({
          mid,
          payloadType: PAYLOAD_TYPE,
          // Browsers negotiate RTX; its payload type only matters when something is repeated.
          rtxPayloadType: PAYLOAD_TYPE + 1,
          absSendTimeId: id('abs-send-time'),
          transportCcId: id('transport-wide'),
          dependencyDescriptorId: 0,
        });
        forwarders.push(forwarder);
      }
      return answer(offer, transport, mid, role === 'publisher' ? 'recvonly' : 'sendonly', ssrc);
    },
    settle: async () => {
      await Promise.all(
        transports.map(
          (transport) =>
            new Promise<void>((resolve) => {
              if (transport.state === 'connected') {
                resolve();
                return;
              }
              transport.events.on('state', (state) => {
                if (state === 'connected') {
                  resolve();
                }
              });
            }),
        ),
      );
    },
    packetsOut: () => forwarders.reduce((sum, forwarder) => sum + forwarder.stats().packets, 0),
  };
}

function answer(
  offer: string,
  transport: PeerTransport,
  mid: string,
  direction: 'recvonly' | 'sendonly',
  ssrc: number,
): string {
  return [
    'v=0',
    'o=- 1 1 IN IP4 0.0.0.0',
    's=-',
    't=0 0',
    `a=group:BUNDLE ${mid}`,
    'a=ice-lite',
    `m=video 9 UDP/TLS/RTP/SAVPF ${PAYLOAD_TYPE}`,
    'c=IN IP4 0.0.0.0',
    `a=mid:${mid}`,
    `a=ice-ufrag:${transport.localUfrag}`,
    `a=ice-pwd:${transport.localPwd}`,
    `a=fingerprint:sha-256 ${transport.localFingerprint}`,
    'a=setup:passive',
    ...transport.candidates.map((candidate) => `a=${candidate}`),
    'a=end-of-candidates',
    `a=${direction}`,
    'a=rtcp-mux',
    ...[...offer.matchAll(/^a=extmap:.*$/gm)].map(([line]) => line.trim()),
    `a=rtpmap:${PAYLOAD_TYPE} VP8/90000`,
    ...(ssrc === 0 ? [] : ['a=msid:PA TR', `a=ssrc:${ssrc} cname:sluice`, `a=ssrc:${ssrc} msid:PA TR`]),
    '',
  ].join('\r\n');
}

function createWerift(): Implementation {
  const receivers: RTCRtpTransceiver[] = [];
  const connected: Promise<void>[] = [];
  let packets = 0;
  return {
    connect: async (role, sdp) => {
      const peer = createPeer();
      await peer.setRemoteDescription({ type: 'offer', sdp });
      preferGcm(peer);
      const [transceiver] = peer.getTransceivers();
      if (transceiver === undefined) {
        throw new Error('the offer has no media');
      }
      if (role === 'receiver') {
        transceiver.setDirection('sendonly');
        receivers.push(transceiver);
      }
      await peer.setLocalDescription(await peer.createAnswer());
      if (role === 'publisher') {
        transceiver.receiver.tracks[0]?.onReceiveRtp.subscribe((packet) => {
          for (const { sender } of receivers) {
            packets += 1;
            void sender.sendRtp(packet);
          }
        });
      }
      connected.push(untilConnected(peer));
      return peer.localDescription?.sdp ?? '';
    },
    settle: async () => {
      await Promise.all(connected);
    },
    packetsOut: () => packets,
  };
}
