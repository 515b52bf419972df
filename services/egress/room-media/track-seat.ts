import { ServiceError } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import type { AudioCodec, EncodedPacket, VideoCodec } from '../../model/packet.ts';
import type { RemoteTrack, RoomClient, TrackSubscription } from '../../rtc-client/room-client-types.ts';

export type TrackSeatOptions = {
  client: RoomClient;
  track: RemoteTrack;
  logger: Logger;
  onPacket: (packet: EncodedPacket) => void;
  /** The track went, or could not be had. Not called after release(). */
  onEnded: (error?: ServiceError) => void;
};

/** One track that is being received, from asking for it to letting it go. */
export class TrackSeat {
  readonly track: RemoteTrack;
  readonly #options: TrackSeatOptions;
  #subscription: TrackSubscription | undefined;
  #codec: VideoCodec | AudioCodec | undefined;
  #released = false;

  constructor(options: TrackSeatOptions) {
    this.track = options.track;
    this.#options = options;
    options.client.subscribe(options.track.trackSid).then(
      (subscription) => {
        this.#adopt(subscription);
      },
      (error: unknown) => {
        this.#end(ServiceError.from(error, 'unavailable'));
      },
    );
  }

  /** As received; before the first packet, as announced. */
  get codec(): VideoCodec | AudioCodec {
    return this.#codec ?? this.track.codec;
  }

  requestKeyframe(): void {
    this.#subscription?.requestKeyframe();
  }

  release(): void {
    if (!this.#released) {
      this.#released = true;
      this.#unsubscribe();
    }
  }

  #adopt(subscription: TrackSubscription): void {
    this.#subscription = subscription;
    if (this.#released) {
      this.#unsubscribe();
      return;
    }
    const { logger, onPacket } = this.#options;
    const { trackSid } = this.track;
    subscription.events.on('format', ({ codec }) => {
      this.#codec = codec;
    });
    subscription.events.on('packet', (packet) => {
      if (!this.#released) {
        onPacket(packet);
      }
    });
    subscription.events.on('lost', ({ packets }) => {
      logger.warn({ trackSid, packets }, 'RTP packets lost for good');
    });
    subscription.events.on('ended', () => {
      this.#end();
    });
    subscription.requestKeyframe();
  }

  #end(error?: ServiceError): void {
    if (!this.#released) {
      this.#released = true;
      this.#options.onEnded(error);
    }
  }

  #unsubscribe(): void {
    this.#subscription?.unsubscribe().catch((error: unknown) => {
      this.#options.logger.debug({ err: error }, 'unsubscribe failed');
    });
  }
}
