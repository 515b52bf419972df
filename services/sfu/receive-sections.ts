import type { TrackKind } from '../model/track.ts';
import type { Subscription } from './subscription.ts';

type Section = {
  kind: TrackKind;
  /**
   * draining: its subscription ended, but the client has not seen it inactive yet. Reusing it earlier would put a
   * new track on a receiver whose `track` event already fired (WebRTC section 5.1.1, "fire a track event").
   */
  state: 'free' | 'used' | 'draining';
  subscription: Subscription | undefined;
};

export type SectionRequirement = { audio: number; video: number };

/**
 * The receive-only media sections one client has offered, and which subscription sits on which. With a single
 * peer connection only the client can add sections, so what is missing has to be asked for.
 */
export class ReceiveSections {
  readonly #sections = new Map<string, Section>();
  readonly #waiting = new Set<Subscription>();
  readonly #requested: Record<TrackKind, number> = { audio: 0, video: 0 };

  add(subscription: Subscription): void {
    this.#waiting.add(subscription);
  }

  remove(subscription: Subscription): void {
    this.#waiting.delete(subscription);
    for (const section of this.#sections.values()) {
      if (section.subscription === subscription) {
        section.subscription = undefined;
        section.state = 'draining';
      }
    }
  }

  /** Takes in the sections of a new offer and seats waiting subscriptions. */
  offered(sections: readonly { mid: string; kind: TrackKind }[]): void {
    this.#requested.audio = 0;
    this.#requested.video = 0;
    const present = new Set(sections.map((section) => section.mid));
    for (const [mid, section] of this.#sections) {
      if (!present.has(mid)) {
        this.#sections.delete(mid);
        if (section.subscription !== undefined) {
          this.#waiting.add(section.subscription);
        }
      }
    }
    for (const { mid, kind } of sections) {
      if (!this.#sections.has(mid)) {
        this.#sections.set(mid, { kind, state: 'free', subscription: undefined });
      }
    }
    for (const subscription of [...this.#waiting]) {
      this.#seat(subscription);
    }
  }

  at(mid: string): Subscription | undefined {
    return this.#sections.get(mid)?.subscription;
  }

  /** mid → track id of everything seated, as answers carry it. */
  trackIdsByMid(): Record<string, string> {
    const ids: Record<string, string> = {};
    for (const [mid, { subscription }] of this.#sections) {
      if (subscription !== undefined) {
        ids[mid] = subscription.track.sid;
      }
    }
    return ids;
  }

  /** The answer is on its way: sections it showed inactive may be used again. */
  answered(): void {
    for (const section of this.#sections.values()) {
      if (section.state === 'draining') {
        section.state = 'free';
      }
    }
  }

  /**
   * What to ask the client for, or undefined when nothing is to be done. Zero of both is meaningful: it asks for
   * a new offer with the sections there are. Asked sections count as coming until the next offer.
   */
  takeRequirement(): SectionRequirement | undefined {
    const draining = [...this.#sections.values()].some((section) => section.state === 'draining');
    if (this.#waiting.size === 0 && !draining) {
      return undefined;
    }
    const requirement = { audio: this.#missing('audio'), video: this.#missing('video') };
    this.#requested.audio += requirement.audio;
    this.#requested.video += requirement.video;
    return requirement;
  }

  #seat(subscription: Subscription): void {
    for (const section of this.#sections.values()) {
      if (section.state === 'free' && section.kind === subscription.track.kind) {
        section.state = 'used';
        section.subscription = subscription;
        this.#waiting.delete(subscription);
        return;
      }
    }
  }

  #missing(kind: TrackKind): number {
    const waiting = [...this.#waiting].filter((subscription) => subscription.track.kind === kind).length;
    const coming = [...this.#sections.values()].filter(
      (section) => section.kind === kind && section.state !== 'used',
    ).length;
    return Math.max(0, waiting - coming - this.#requested[kind]);
  }
}
