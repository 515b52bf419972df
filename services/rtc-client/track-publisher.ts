import { randomBytes, randomUUID } from 'node:crypto';
import { monotonicUs } from '../base/clock.ts';
import { SafeEmitter } from '../base/events.ts';
import type { Logger } from '../base/logger.ts';
import type { EncodedPacket } from '../model/packet.ts';
import { LayerSender } from './layer-sender.ts';
import type { SendSide } from './rtcp-exchange.ts';
import type { PublishOptions, TrackPublisher, TrackPublisherEvents } from './room-client-types.ts';
import type { SendStream } from './send-stream.ts';
import type { SendClock } from './send-clock.ts';

/** What the client does for a publisher. */
export type PublisherHost = {
  clock: SendClock;
  setMuted: (trackSid: string, muted: boolean) => void;
  unpublish: (publisher: LocalPublisher) => Promise<void>;
  /** Sends a sender report for the stream. */
  report: (ssrc: number) => void;
};

const KEYFRAME_EVENT_INTERVAL_US = 100_000;
/** By layer index: the names LiveKit's clients use, which every server knows. */
export const LAYER_RIDS = ['q', 'h', 'f'] as const;

/** One published track. It outlives reconnects: the client gives it new streams. */
export class LocalPublisher implements TrackPublisher {
  readonly cid = randomUUID();
  readonly options: PublishOptions;
  readonly events: SafeEmitter<TrackPublisherEvents>;
  readonly #host: PublisherHost;
  /** By restriction id; one without a name when there is no simulcast. */
  readonly #senders: ReadonlyMap<string, LayerSender>;
  #trackSid = '';
  #mid = '';
  #muted: boolean;
  #isWatched = true;
  #closed = false;
  #lastKeyframeEventUs = Number.NEGATIVE_INFINITY;

  /** @throws ServiceError unimplemented for a codec without a packetizer. */
  constructor(options: PublishOptions, host: PublisherHost, logger: Logger) {
    this.options = options;
    this.#host = host;
    this.#muted = options.muted ?? false;
    this.events = new SafeEmitter(logger);
    const { format } = options;
    const layers = format.kind === 'video' ? (format.layers ?? []) : [];
    const rids = layers.length > 1 ? layers.map(({ layer }) => LAYER_RIDS[layer]) : [''];
    const shared = {
      codec: format.codec,
      clockRateHz: format.kind === 'video' ? 90_000 : 48_000,
      clock: host.clock,
      timestampBase: randomBytes(4).readUInt32BE(0),
      onFirstFrame: host.report,
      onKeyframeRequest: () => {
        this.#onKeyframeRequest();
      },
    };
    this.#senders = new Map(rids.map((rid) => [rid, new LayerSender(shared)]));
  }

  /** What media sections are made of: lowest layer first. */
  get encodings(): { rid: string; side: SendSide }[] {
    return [...this.#senders].map(([rid, side]) => ({ rid, side }));
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
    this.applyDemand(true); // a server that does not know us has not said anything yet
  }

  /** The streams to write to, by restriction id; undefined while the transport is down. */
  attach(streams: ReadonlyMap<string, SendStream> | undefined): void {
    for (const [rid, sender] of this.#senders) {
      const stream = streams?.get(rid);
      if (streams !== undefined && stream === undefined) {
        sender.refuse();
      } else {
        sender.attach(stream);
      }
    }
  }

  write(packet: EncodedPacket): void {
    if (this.#closed || this.#muted) {
      return;
    }
    const rid = this.#senders.size > 1 && packet.layer !== undefined ? LAYER_RIDS[packet.layer] : undefined;
    const sender = rid === undefined ? [...this.#senders.values()].at(-1) : this.#senders.get(rid);
    sender?.write(packet);
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

  applyDemand(isWatched: boolean): void {
    if (!this.#closed && this.#isWatched !== isWatched) {
      this.#isWatched = isWatched;
      this.events.emit('watched', { isWatched });
    }
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
    for (const sender of this.#senders.values()) {
      sender.refuse();
    }
    this.events.emit('closed', { cause });
  }

  #onKeyframeRequest(): void {
    const atUs = monotonicUs();
    if (atUs - this.#lastKeyframeEventUs >= KEYFRAME_EVENT_INTERVAL_US) {
      this.#lastKeyframeEventUs = atUs;
      this.events.emit('keyframeRequested', { atUs });
    }
  }
}
