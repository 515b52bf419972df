import { expect, test } from 'vitest';
import { SrtpSession } from '../../../services/media/rtp/srtp.ts';
import { InboundStream } from '../../../services/sfu/forwarding/inbound-stream.ts';
import { OutboundStream } from '../../../services/sfu/forwarding/outbound-stream.ts';
import { MAX_DATAGRAM_BYTES } from '../../../services/sfu/forwarding/packet-ring.ts';
import { PublisherClock } from '../../../services/sfu/forwarding/publisher-clock.ts';
import { TrackPublication, type PacketView } from '../../../services/sfu/forwarding/track-publication.ts';
import { emptyVp8Descriptor, parseVp8Descriptor } from '../../../services/media/rtp/vp8-descriptor.ts';
import { vp8Payload } from './media-rig.ts';

const CODEC = { name: 'vp8', payloadType: 96, rtxPayloadType: 97, clockRateHz: 90_000 } as const;
const MASTER = { key: Buffer.alloc(16, 1), salt: Buffer.alloc(12, 2) };

function createStream(): { stream: OutboundStream; sent: Buffer[] } {
  const sent: Buffer[] = [];
  const { sender } = new SrtpSession({ profile: 'AEAD_AES_128_GCM', local: MASTER, remote: MASTER });
  const stream = new OutboundStream({
    publication: new TrackPublication({
      publication: {
        ...{ mid: '0', kind: 'video', codec: CODEC },
        ...{ rids: [], layerByRid: new Map(), ssrcs: new Map() },
      },
      clock: new PublisherClock(),
      sendPli: () => undefined,
    }),
    outlet: {
      srtpSender: sender,
      batches: false,
      sendMedia: (datagram) => sent.push(Buffer.from(datagram)),
      sendUrgent: () => undefined,
      hurry: () => undefined,
      nextTransportSequence: () => 0,
    },
    ssrc: 1,
    rtxSsrc: 2,
  });
  stream.bind({
    ...{ mid: '0', payloadType: 96, rtxPayloadType: 97 },
    ...{ absSendTimeId: 1, transportCcId: 2, dependencyDescriptorId: 0 },
  });
  return { stream, sent };
}

function view(from: InboundStream, sequence: number, pictureId: number, length: number): PacketView {
  const payload = vp8Payload({ pictureId, tl0: pictureId, key: true, start: true, frame: 0, length });
  return {
    ...{ stream: from, payload, sequence, timestamp: 0, marker: true, key: true },
    vp8: parseVp8Descriptor(payload, emptyVp8Descriptor()),
    ...{ dependencyDescriptor: undefined, nowMs: 0 },
  };
}

test.each([
  { what: 'sent', length: 1_000, datagrams: 2 },
  { what: 'too large to be sent', length: MAX_DATAGRAM_BYTES - 20, datagrams: 1 },
])('a packet that is $what is left as it came', ({ length, datagrams }) => {
  const { stream, sent } = createStream();
  const layer = (ssrc: number): InboundStream =>
    new InboundStream({
      ...{ ssrc, role: { kind: 'media', layer: 0, rid: '' } },
      ...{ clockRateHz: 90_000, nack: false },
    });
  const first = view(layer(10), 70_000, 5, 1_000);
  stream.rewriting.switchTo(first);
  stream.send(first, 0);
  // Another layer's picture ids must be rewritten to go on where the first one's ended.
  const second = view(layer(11), 80_000, 4_000, length);
  const before = Buffer.from(second.payload);
  stream.rewriting.switchTo(second);
  expect(stream.rewriting.pictureId(second)).toBe(6);
  stream.send(second, 3_000);
  expect(sent).toHaveLength(datagrams);
  expect(second.payload).toEqual(before);
});
