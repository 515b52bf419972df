import { SafeEmitter } from '../base/events.ts';
import type { Logger } from '../base/logger.ts';
import { parseOpusPacket } from '../media/codecs/opus.ts';
import type { ReceivedFrame } from '../media/packetize/frame-assembler.ts';
import type { VideoCodec, AudioCodec } from '../model/packet.ts';
import { FormatDetector } from './format-detector.ts';
import type { ReceiveSection } from './media-sections.ts';
import type { ReceiveStream } from './receive-stream.ts';
import type { RemoteTrack, TrackSubscription, TrackSubscriptionEvents } from './room-client-types.ts';

export type SubscriptionHost = {
  unsubscribe: (subscription: LocalSubscription) => Promise<void>;
};

/** One received track. It outlives reconnects: the client gives it a new stream. */
export class LocalSubscription implements TrackSubscription {
  readonly track: RemoteTrack;
  readonly events: SafeEmitter<TrackSubscriptionEvents>;
  readonly #host: SubscriptionHost;
  #section: ReceiveSection | undefined;
  #stream: ReceiveStream | undefined;
  #format: FormatDetector | undefined;
  #lastPtsUs = Number.NEGATIVE_INFINITY;
  #ended = false;

  constructor(track: RemoteTrack, host: SubscriptionHost, logger: Logger) {
    this.track = track;
    this.#host = host;
    this.events = new SafeEmitter(logger);
  }

  get section(): ReceiveSection | undefined {
    return this.#section;
  }

  get hasEnded(): boolean {
    return this.#ended;
  }

  /** A stream begins (again); frames come from its next key frame on. */
  attach(section: ReceiveSection, stream: ReceiveStream, codec: VideoCodec | AudioCodec): void {
    this.detach();
    this.#section = section;
    this.#stream = stream;
    this.#format ??= new FormatDetector(codec, this.track);
    if (this.track.kind === 'video') {
      stream.requestKeyframe();
    }
  }

  detach(): void {
    this.#stream?.close();
    this.#stream = undefined;
    this.#section = undefined;
  }

  requestKeyframe(): void {
    this.#stream?.requestKeyframe();
  }

  async unsubscribe(): Promise<void> {
    if (!this.#ended) {
      await this.#host.unsubscribe(this);
      this.end('unsubscribed');
    }
  }

  end(cause: string): void {
    if (this.#ended) {
      return;
    }
    this.#ended = true;
    this.detach();
    this.events.emit('ended', { cause });
  }

  onLost(packets: number): void {
    this.events.emit('lost', { packets });
  }

  onFrame(frame: ReceivedFrame & { ptsUs: number }): void {
    if (this.#ended) {
      return;
    }
    const format = this.#format?.changed(frame.data, frame.key);
    if (format !== undefined) {
      this.events.emit('format', format);
    }
    // A new stream after a reconnect starts its own timeline: it may not begin before the old one ended.
    const ptsUs = this.track.kind === 'audio' ? Math.max(frame.ptsUs, this.#lastPtsUs + 1) : frame.ptsUs;
    this.#lastPtsUs = Math.max(this.#lastPtsUs, ptsUs);
    this.events.emit('packet', {
      kind: this.track.kind,
      ptsUs,
      dtsUs: ptsUs,
      durationUs: this.track.kind === 'audio' ? opusDurationUs(frame.data) : 0,
      key: frame.key,
      data: frame.data,
    });
  }
}

function opusDurationUs(packet: Uint8Array): number {
  try {
    return parseOpusPacket(packet).durationUs;
  } catch {
    return 0;
  }
}
