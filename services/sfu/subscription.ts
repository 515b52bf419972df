import { layerForSize, type LayerIndex } from '../model/track.ts';
import type { Forwarder, ForwarderBinding, PeerMedia } from './media-types.ts';
import type { PublishedTrack } from './published-track.ts';

/** What a subscriber asked for with `trackSetting`. */
export type SubscriptionSettings = {
  disabled: boolean;
  quality: number;
  width: number;
  height: number;
};

/** One participant's receipt of one track: wanted layer, pause state, and the forwarder once it flows. */
export class Subscription {
  readonly track: PublishedTrack;
  readonly #media: PeerMedia;
  #forwarder: Forwarder | undefined;
  #binding: ForwarderBinding | undefined;
  #disabled = false;
  #maxLayer: LayerIndex = 2;
  #closed = false;

  constructor(track: PublishedTrack, media: PeerMedia) {
    this.track = track;
    this.#media = media;
    track.subscriptions.add(this);
  }

  /** The layer this subscription needs from the publisher; -1 = none at all. */
  get wantedLayer(): LayerIndex | -1 {
    return this.#disabled ? -1 : this.#maxLayer;
  }

  get isFlowing(): boolean {
    return this.#forwarder?.boundMid !== undefined;
  }

  get forwarder(): Forwarder | undefined {
    return this.#forwarder;
  }

  /** Creates the forwarder so that its SSRCs can be written into an answer. undefined: the track has no media. */
  prepare(): Forwarder | undefined {
    if (this.#forwarder === undefined && this.track.media !== undefined && !this.#closed) {
      this.#forwarder = this.#media.createForwarder(this.track.media.publication);
      this.#apply();
    }
    return this.#forwarder;
  }

  /** Remembers where to send; `start` begins once the transport is up. */
  plan(binding: ForwarderBinding): void {
    this.#binding = binding;
  }

  /** Starts sending as planned. Returns true when this call started it. */
  start(): boolean {
    if (this.#binding === undefined || this.#forwarder === undefined || this.isFlowing) {
      return false;
    }
    this.#forwarder.bind(this.#binding);
    return true;
  }

  applySettings(settings: SubscriptionSettings): void {
    this.#disabled = settings.disabled;
    if (!settings.disabled) {
      this.#maxLayer = layerForSize(this.track.layerSizes(), settings);
    }
    this.#apply();
  }

  /** The publisher muted or unmuted. */
  refresh(): void {
    this.#apply();
  }

  close(): void {
    if (this.#closed) {
      return;
    }
    this.#closed = true;
    this.track.subscriptions.delete(this);
    if (this.#forwarder !== undefined) {
      this.#forwarder.unbind();
      this.#media.removeForwarder(this.#forwarder);
      this.#forwarder = undefined;
    }
  }

  #apply(): void {
    this.#forwarder?.setMaxLayer(this.#maxLayer);
    this.#forwarder?.setPaused(this.#disabled || this.track.muted);
  }
}
