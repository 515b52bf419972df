import type { PeerMedia } from './media-types.ts';
import type { PublishedTrack } from './published-track.ts';
import { ReceiveSections, type SectionRequirement } from './receive-sections.ts';
import { Subscription, type SubscriptionSettings } from './subscription.ts';

export type SubscriptionsHost = {
  /** Tracks of others this participant can see, e.g. to find one by id. */
  findTrack(trackSid: string): PublishedTrack | undefined;
  /** Grants and the publisher's subscription permission. */
  mayReceive(track: PublishedTrack): boolean;
  requireSections(requirement: SectionRequirement): void;
  /** A subscription of this track appeared, changed or went: its publisher's wanted layers may differ now. */
  demandChanged(track: PublishedTrack): void;
  /** The publisher's policy stands against a subscription this participant wants (or no longer does). */
  permissionChanged(track: PublishedTrack, allowed: boolean): void;
};

/** Explicit choices remembered per track id, so that they hold for tracks that come back. */
const MAX_REMEMBERED_CHOICES = 4096;

/** Everything one participant receives: what it wants, what it may have, and where it sits in its SDP. */
export class Subscriptions {
  readonly sections = new ReceiveSections();
  readonly #media: PeerMedia;
  readonly #host: SubscriptionsHost;
  readonly #autoSubscribe: boolean;
  readonly #choices = new Map<string, boolean>();
  readonly #settings = new Map<string, SubscriptionSettings>();
  readonly #byTrack = new Map<string, Subscription>();
  readonly #denied = new Set<string>();
  readonly #refused = new WeakSet<PublishedTrack>();
  #askScheduled = false;
  #closed = false;

  constructor(options: { media: PeerMedia; host: SubscriptionsHost; autoSubscribe: boolean }) {
    this.#media = options.media;
    this.#host = options.host;
    this.#autoSubscribe = options.autoSubscribe;
  }

  get(trackSid: string): Subscription | undefined {
    return this.#byTrack.get(trackSid);
  }

  all(): Iterable<Subscription> {
    return this.#byTrack.values();
  }

  /** The client (or the API) subscribes or unsubscribes explicitly. */
  choose(trackSids: Iterable<string>, subscribe: boolean): void {
    for (const sid of trackSids) {
      if (this.#choices.size < MAX_REMEMBERED_CHOICES || this.#choices.has(sid)) {
        this.#choices.set(sid, subscribe);
      }
      const track = this.#host.findTrack(sid);
      if (track !== undefined) {
        this.reconsider(track);
      }
    }
  }

  /** Starts or ends the subscription of a visible track according to wish and permission. */
  reconsider(track: PublishedTrack): void {
    if (this.#closed) {
      return;
    }
    const wanted = !this.#refused.has(track) && (this.#choices.get(track.sid) ?? this.#autoSubscribe);
    const allowed = this.#host.mayReceive(track);
    this.#notePermission(track, wanted, allowed);
    const current = this.#byTrack.get(track.sid);
    if (wanted && allowed && track.media !== undefined && current === undefined) {
      this.#begin(track);
    } else if (current !== undefined && !(wanted && allowed)) {
      this.#end(current);
    }
  }

  /** The client cannot decode the track: it is not tried again. */
  refuse(track: PublishedTrack): void {
    this.#refused.add(track);
    this.reconsider(track);
  }

  /** The track is gone for good. */
  forget(track: PublishedTrack): void {
    const current = this.#byTrack.get(track.sid);
    if (current !== undefined) {
      this.#end(current);
    }
    this.#choices.delete(track.sid);
    this.#settings.delete(track.sid);
    this.#denied.delete(track.sid);
  }

  configure(trackSids: Iterable<string>, settings: SubscriptionSettings): void {
    for (const sid of trackSids) {
      if (this.#settings.size < MAX_REMEMBERED_CHOICES) {
        this.#settings.set(sid, settings);
      }
      const subscription = this.#byTrack.get(sid);
      if (subscription !== undefined) {
        subscription.applySettings(settings);
        this.#host.demandChanged(subscription.track);
      }
    }
  }

  /** Coalesces everything of this turn into one request for media sections. */
  askForSections(): void {
    if (this.#askScheduled || this.#closed) {
      return;
    }
    this.#askScheduled = true;
    setImmediate(() => {
      this.#askScheduled = false;
      const requirement = this.#closed ? undefined : this.sections.takeRequirement();
      if (requirement !== undefined) {
        this.#host.requireSections(requirement);
      }
    });
  }

  close(): void {
    if (this.#closed) {
      return;
    }
    this.#closed = true;
    for (const subscription of this.#byTrack.values()) {
      subscription.close();
      this.#host.demandChanged(subscription.track);
    }
    this.#byTrack.clear();
  }

  #begin(track: PublishedTrack): void {
    const subscription = new Subscription(track, this.#media);
    const settings = this.#settings.get(track.sid);
    if (settings !== undefined) {
      subscription.applySettings(settings);
    }
    this.#byTrack.set(track.sid, subscription);
    this.sections.add(subscription);
    this.#host.demandChanged(track);
    this.askForSections();
  }

  #end(subscription: Subscription): void {
    this.#byTrack.delete(subscription.track.sid);
    this.sections.remove(subscription);
    subscription.close();
    this.#host.demandChanged(subscription.track);
    this.askForSections();
  }

  #notePermission(track: PublishedTrack, wanted: boolean, allowed: boolean): void {
    if (wanted && !allowed && !this.#denied.has(track.sid)) {
      this.#denied.add(track.sid);
      this.#host.permissionChanged(track, false);
    } else if (allowed && this.#denied.delete(track.sid)) {
      this.#host.permissionChanged(track, true);
    }
  }
}
