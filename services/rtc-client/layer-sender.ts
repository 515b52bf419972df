import { monotonicUs } from '../base/clock.ts';
import { createPacketizer } from '../media/packetize/packetizer.ts';
import type { Packetizer } from '../media/packetize/packetizer-types.ts';
import type { AudioCodec, EncodedPacket, VideoCodec } from '../model/packet.ts';
import type { SendSide } from './rtcp-exchange.ts';
import type { SendClock } from './send-clock.ts';
import { MAX_PAYLOAD_LENGTH, type SendStream } from './send-stream.ts';

/** Held while the transport is down: what a receiver needs to start at the last key frame. */
const MAX_HELD_BYTES = 8 << 20;
const MAX_HELD_AUDIO_US = 1_000_000;

export type LayerSenderOptions = {
  codec: VideoCodec | AudioCodec;
  clockRateHz: number;
  clock: SendClock;
  /** RTP time of session time 0; the layers of a track share it. */
  timestampBase: number;
  /** The first frame of a stream went out: its sender report is due. */
  onFirstFrame: (ssrc: number) => void;
  onKeyframeRequest: () => void;
};

/** One encoding of a published track: its only one, or a simulcast layer. */
export class LayerSender implements SendSide {
  readonly #options: LayerSenderOptions;
  readonly #packetizer: Packetizer;
  #stream: SendStream | undefined;
  /** The server does not take this layer. */
  #refused = false;
  #held: EncodedPacket[] = [];
  #heldBytes = 0;
  #last: { ptsUs: number; writtenUs: number } | undefined;

  /** @throws ServiceError unimplemented for a codec without a packetizer. */
  constructor(options: LayerSenderOptions) {
    this.#options = options;
    this.#packetizer = createPacketizer(options.codec);
  }

  /** The stream to write to; undefined while the transport is down. Packets held back go out first. */
  attach(stream: SendStream | undefined): void {
    this.#stream = stream;
    this.#refused = false;
    if (stream === undefined) {
      return;
    }
    const held = this.#held;
    this.#drop();
    for (const packet of held) {
      this.#send(stream, packet);
    }
  }

  /** Nothing of this layer is wanted until attach(). */
  refuse(): void {
    this.attach(undefined);
    this.#refused = true;
    this.#drop();
  }

  write(packet: EncodedPacket): void {
    if (this.#stream !== undefined) {
      this.#send(this.#stream, packet);
    } else if (!this.#refused) {
      this.#hold(packet);
    }
  }

  onKeyframeRequest(): void {
    this.#options.onKeyframeRequest();
  }

  reportPoint(): { rtpTimestamp: number; ntpUs: number } | undefined {
    if (this.#last === undefined) {
      return undefined;
    }
    const ptsUs = this.#last.ptsUs + (monotonicUs() - this.#last.writtenUs);
    return { rtpTimestamp: this.#rtpTimestamp(ptsUs), ntpUs: this.#options.clock.toNtpUs(ptsUs) };
  }

  #send(stream: SendStream, packet: EncodedPacket): void {
    const payloads = this.#packetizer.packetize(packet.data, {
      key: packet.key,
      maxPayloadLength: MAX_PAYLOAD_LENGTH,
    });
    this.#options.clock.toNtpUs(packet.ptsUs);
    this.#last = { ptsUs: packet.ptsUs, writtenUs: monotonicUs() };
    const isFirst = !stream.hasSent;
    stream.sendFrame(payloads, this.#rtpTimestamp(packet.ptsUs));
    if (isFirst) {
      this.#options.onFirstFrame(stream.ssrc);
    }
  }

  #rtpTimestamp(ptsUs: number): number {
    const { clockRateHz, timestampBase } = this.#options;
    const ticks = Math.round((ptsUs * clockRateHz) / 1_000_000) + timestampBase;
    return ((ticks % 0x1_0000_0000) + 0x1_0000_0000) % 0x1_0000_0000;
  }

  #hold(packet: EncodedPacket): void {
    if (packet.kind === 'video') {
      if (packet.key || this.#heldBytes + packet.data.length > MAX_HELD_BYTES) {
        this.#drop();
      }
      if (!packet.key && this.#held.length === 0) {
        return;
      }
    } else {
      while ((this.#held[0]?.ptsUs ?? packet.ptsUs) < packet.ptsUs - MAX_HELD_AUDIO_US) {
        this.#held.shift();
      }
    }
    this.#held.push(packet);
    this.#heldBytes += packet.data.length;
  }

  #drop(): void {
    this.#held = [];
    this.#heldBytes = 0;
  }
}
