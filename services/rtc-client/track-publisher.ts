import { randomBytes, randomUUID } from 'node:crypto';
import { monotonicUs } from '../base/clock.ts';
import { SafeEmitter } from '../base/events.ts';
import type { Logger } from '../base/logger.ts';
import { createPacketizer } from '../media/packetize/packetizer.ts';
import type { Packetizer } from '../media/packetize/packetizer-types.ts';
import type { EncodedPacket } from '../model/packet.ts';
import type { SendSide } from './rtcp-exchange.ts';
import type { PublishOptions, TrackPublisher, TrackPublisherEvents } from './room-client-types.ts';
import { MAX_PAYLOAD_LENGTH, type SendStream } from './send-stream.ts';
import type { SendClock } from './send-clock.ts';

/** What the client does for a publisher. */
export type PublisherHost = {
  clock: SendClock;
  setMuted: (trackSid: string, muted: boolean) => void;
  unpublish: (publisher: LocalPublisher) => Promise<void>;
  /** Sends a sender report for the section. */
  report: (mid: string) => void;
};

/** Held while the transport is down: what a receiver needs to start at the last key frame. */
const MAX_HELD_BYTES = 8 << 20;
const MAX_HELD_AUDIO_US = 1_000_000;
const KEYFRAME_EVENT_INTERVAL_US = 100_000;

/** One published track. It outlives reconnects: the client gives it a new stream. */
export class LocalPublisher implements TrackPublisher, SendSide {
  readonly cid = randomUUID();
  readonly options: PublishOptions;
  readonly events: SafeEmitter<TrackPublisherEvents>;
  readonly #host: PublisherHost;
  readonly #packetizer: Packetizer;
  readonly #clockRateHz: number;
  readonly #timestampBase = randomBytes(4).readUInt32BE(0);
  #trackSid = '';
  #mid = '';
  #stream: SendStream | undefined;
  #muted: boolean;
  #closed = false;
  #held: EncodedPacket[] = [];
  #heldBytes = 0;
  #last: { ptsUs: number; writtenUs: number } | undefined;
  #lastKeyframeEventUs = Number.NEGATIVE_INFINITY;

  /** @throws ServiceError unimplemented for a codec without a packetizer. */
  constructor(options: PublishOptions, host: PublisherHost, logger: Logger) {
    this.options = options;
    this.#host = host;
    this.#muted = options.muted ?? false;
    this.#packetizer = createPacketizer(options.format.codec);
    this.#clockRateHz = options.format.kind === 'video' ? 90_000 : 48_000;
    this.events = new SafeEmitter(logger);
  }

  get trackSid(): string {
    return this.#trackSid;
  }

  get mid(): string {
    return this.#mid;
  }

  get muted(): boolean {
    return this.#muted;
  }

  /** The server's name for the track, again after a restart. */
  assign(trackSid: string, mid: string): void {
    this.#trackSid = trackSid;
    this.#mid = mid;
  }

  /** The stream to write to; undefined while the transport is down. Packets held back go out first. */
  attach(stream: SendStream | undefined): void {
    this.#stream = stream;
    if (stream === undefined) {
      return;
    }
    const held = this.#held;
    this.#held = [];
    this.#heldBytes = 0;
    for (const packet of held) {
      this.#send(stream, packet);
    }
  }

  write(packet: EncodedPacket): void {
    if (this.#closed || this.#muted) {
      return;
    }
    if (this.#stream === undefined) {
      this.#hold(packet);
    } else {
      this.#send(this.#stream, packet);
    }
  }

  setMuted(muted: boolean): void {
    if (this.#closed || this.#muted === muted) {
      return;
    }
    this.#muted = muted;
    this.#host.setMuted(this.#trackSid, muted);
  }

  /** The server muted us: nothing is to be said back. */
  applyMute(muted: boolean): void {
    this.#muted = muted;
  }

  async unpublish(): Promise<void> {
    if (!this.#closed) {
      await this.#host.unpublish(this);
      this.close('unpublished');
    }
  }

  close(cause: string): void {
    if (this.#closed) {
      return;
    }
    this.#closed = true;
    this.#stream = undefined;
    this.#held = [];
    this.events.emit('closed', { cause });
  }

  onKeyframeRequest(): void {
    const atUs = monotonicUs();
    if (atUs - this.#lastKeyframeEventUs >= KEYFRAME_EVENT_INTERVAL_US) {
      this.#lastKeyframeEventUs = atUs;
      this.events.emit('keyframeRequested', { atUs });
    }
  }

  reportPoint(): { rtpTimestamp: number; ntpUs: number } | undefined {
    if (this.#last === undefined) {
      return undefined;
    }
    const ptsUs = this.#last.ptsUs + (monotonicUs() - this.#last.writtenUs);
    return { rtpTimestamp: this.#rtpTimestamp(ptsUs), ntpUs: this.#host.clock.toNtpUs(ptsUs) };
  }

  #send(stream: SendStream, packet: EncodedPacket): void {
    const payloads = this.#packetizer.packetize(packet.data, {
      key: packet.key,
      maxPayloadLength: MAX_PAYLOAD_LENGTH,
    });
    this.#host.clock.toNtpUs(packet.ptsUs);
    this.#last = { ptsUs: packet.ptsUs, writtenUs: monotonicUs() };
    const isFirst = !stream.hasSent;
    stream.sendFrame(payloads, this.#rtpTimestamp(packet.ptsUs));
    if (isFirst) {
      this.#host.report(this.#mid);
    }
  }

  #rtpTimestamp(ptsUs: number): number {
    const ticks = Math.round((ptsUs * this.#clockRateHz) / 1_000_000) + this.#timestampBase;
    return ((ticks % 0x1_0000_0000) + 0x1_0000_0000) % 0x1_0000_0000;
  }

  #hold(packet: EncodedPacket): void {
    if (packet.kind === 'video') {
      if (packet.key || this.#heldBytes + packet.data.length > MAX_HELD_BYTES) {
        this.#held = [];
        this.#heldBytes = 0;
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
}
