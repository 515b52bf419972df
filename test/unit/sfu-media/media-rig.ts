import { vi } from 'vitest';
import { createLogger } from '../../../services/base/logger.ts';
import { parseRtcp, type RtcpPacket } from '../../../services/media/rtp/rtcp.ts';
import {
  looksLikeRtcp,
  rtpHeaderLength,
  rtpMarker,
  rtpPayloadType,
  rtpSequenceNumber,
  rtpSsrc,
  rtpTimestamp,
  writeRtpHeader,
  type RtpHeaderFields,
} from '../../../services/media/rtp/rtp-header.ts';
import { SrtpSession } from '../../../services/media/rtp/srtp.ts';
import { MediaTicker } from '../../../services/sfu/forwarding/media-ticker.ts';
import { RtpPeerMedia } from '../../../services/sfu/forwarding/peer-media.ts';

export type ReceivedRtp = {
  payloadType: number;
  sequenceNumber: number;
  timestamp: number;
  ssrc: number;
  marker: boolean;
  payload: Buffer;
};

/** Header extension ids every test client uses. */
export const EXTENSION = { mid: 1, rid: 2, repairedRid: 3, transportCc: 4, audioLevel: 5, descriptor: 6 };

const ONE = { key: Buffer.alloc(16, 1), salt: Buffer.alloc(12, 2) };
const TWO = { key: Buffer.alloc(16, 3), salt: Buffer.alloc(12, 4) };

/**
 * A client at the far end of one RtpPeerMedia: it encrypts what it publishes and decrypts what it is sent.
 * Time is faked: nothing happens between advance() calls.
 */
export class TestClient {
  readonly media: RtpPeerMedia;
  readonly rtp: ReceivedRtp[] = [];
  readonly rtcp: RtcpPacket[] = [];
  /** Protected RTP as it came. */
  readonly datagrams: Buffer[] = [];
  /** Returns true for datagrams that get lost on the way to the client. */
  loseDownlink: (datagram: Buffer) => boolean = () => false;
  /** Called for each RTP packet that arrives. */
  onRtp: (packet: ReceivedRtp) => void = () => undefined;
  readonly #srtp = new SrtpSession({ profile: 'AEAD_AES_128_GCM', local: ONE, remote: TWO });

  constructor(ticker: MediaTicker, batchMs: number) {
    this.media = new RtpPeerMedia({
      send: (datagram) => this.#receive(Buffer.from(datagram)),
      ticker,
      batchMs,
      logger: createLogger({ level: 'silent' }),
    });
    Object.assign(this.media.extensions, {
      mid: EXTENSION.mid,
      rid: EXTENSION.rid,
      repairedRid: EXTENSION.repairedRid,
      transportCc: EXTENSION.transportCc,
      audioLevel: EXTENSION.audioLevel,
      dependencyDescriptor: EXTENSION.descriptor,
    });
    this.media.start(new SrtpSession({ profile: 'AEAD_AES_128_GCM', local: TWO, remote: ONE }));
  }

  sendRtp(fields: RtpHeaderFields, payload: Uint8Array, padding = 0): void {
    const packet = Buffer.alloc(200 + payload.length + padding);
    const headerLength = writeRtpHeader(packet, fields);
    packet.set(payload, headerLength);
    const end = headerLength + payload.length + padding;
    if (padding > 0) {
      packet[0] = (packet[0] ?? 0) | 0x20;
      packet[end - 1] = padding;
    }
    this.media.handleSrtp(this.#srtp.sender.protectRtp(packet.subarray(0, end)));
  }

  /** Any bytes that begin like RTP, properly encrypted. */
  sendRaw(packet: Buffer): void {
    if (rtpHeaderLength(packet) > 0) {
      this.media.handleSrtp(this.#srtp.sender.protectRtp(packet));
    }
  }

  sendRtcp(packet: Buffer): void {
    this.media.handleSrtcp(this.#srtp.sender.protectRtcp(packet));
  }

  rtcpOf<Type extends RtcpPacket['type']>(type: Type): Extract<RtcpPacket, { type: Type }>[] {
    return this.rtcp.filter((packet): packet is Extract<RtcpPacket, { type: Type }> => packet.type === type);
  }

  #receive(datagram: Buffer): void {
    if (looksLikeRtcp(datagram)) {
      const compound = this.#srtp.receiver.unprotectRtcp(datagram);
      this.rtcp.push(...parseRtcp(compound ?? Buffer.alloc(0)));
      return;
    }
    if (this.loseDownlink(datagram)) {
      return;
    }
    this.datagrams.push(datagram);
    const payload = this.#srtp.receiver.unprotectRtp(datagram, rtpHeaderLength(datagram));
    if (payload === undefined) {
      throw new Error('the SFU sent a packet that does not decrypt or repeats an index');
    }
    const packet: ReceivedRtp = {
      payloadType: rtpPayloadType(datagram),
      sequenceNumber: rtpSequenceNumber(datagram),
      timestamp: rtpTimestamp(datagram),
      ssrc: rtpSsrc(datagram),
      marker: rtpMarker(datagram),
      payload,
    };
    this.rtp.push(packet);
    this.onRtp(packet);
  }
}

export class MediaRig {
  readonly ticker = new MediaTicker(createLogger({ level: 'silent' }));
  readonly #clients: TestClient[] = [];

  constructor() {
    vi.useFakeTimers({ toFake: ['performance', 'setInterval', 'clearInterval'] });
  }

  client(batchMs = 0): TestClient {
    const client = new TestClient(this.ticker, batchMs);
    this.#clients.push(client);
    return client;
  }

  advance(ms: number): void {
    vi.advanceTimersByTime(ms);
  }

  close(): void {
    for (const { media } of this.#clients) {
      media.stop();
    }
    vi.useRealTimers();
  }
}

/** A VP8 payload with 15-bit PictureID and TL0PICIDX; `frame` comes back in the last two bytes. */
export function vp8Payload(options: {
  pictureId: number;
  tl0: number;
  key: boolean;
  frame: number;
  start?: boolean;
  length?: number;
}): Buffer {
  const payload = Buffer.alloc(options.length ?? 20);
  payload[0] = options.start === false ? 0x80 : 0x90;
  payload[1] = 0xc0;
  payload.writeUInt16BE(0x8000 | (options.pictureId & 0x7fff), 2);
  payload[4] = options.tl0 & 0xff;
  payload[5] = options.key ? 0x10 : 0x11;
  payload.writeUInt16BE(options.frame & 0xffff, 18);
  return payload;
}

export function vp8Fields(payload: Buffer): { pictureId: number; tl0: number; frame: number } {
  return {
    pictureId: payload.readUInt16BE(2) & 0x7fff,
    tl0: payload[4] ?? 0,
    frame: payload.readUInt16BE(18),
  };
}
