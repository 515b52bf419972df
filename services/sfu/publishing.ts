import type { AddTrackRequest, TrackInfo } from '@livekit/protocol';
import { ServiceError } from '../base/errors.ts';
import { mayPublishSource, PARTICIPANT_LIMITS, type ParticipantPermissions } from '../model/participant.ts';
import type { PublishingSide, SendingSection } from './negotiation.ts';
import { PublishedTrack } from './published-track.ts';
import { sourceFromWire } from './wire-convert.ts';

export type PublishingHost = {
  readonly sid: string;
  readonly identity: string;
  permissions(): ParticipantPermissions;
  /** Media of the track is negotiated: show it to the room. */
  trackReady(track: PublishedTrack): void;
  trackGone(track: PublishedTrack): void;
};

/** Everything one participant publishes: announced tracks waiting for their section, and tracks with media. */
export class Publishing implements PublishingSide {
  readonly #host: PublishingHost;
  readonly #announced = new Map<string, PublishedTrack>();
  readonly #published = new Map<string, PublishedTrack>();
  readonly #byMid = new Map<string, PublishedTrack>();
  readonly #becameReady = new Set<PublishedTrack>();
  /** Msid track ids of offered sections nobody had announced yet. */
  #unclaimed = new Set<string>();

  constructor(host: PublishingHost) {
    this.#host = host;
  }

  get byMid(): ReadonlyMap<string, PublishedTrack> {
    return this.#byMid;
  }

  tracks(): PublishedTrack[] {
    return [...this.#published.values()];
  }

  infos(): TrackInfo[] {
    return this.tracks().map((track) => track.info);
  }

  find(trackSid: string): PublishedTrack | undefined {
    return (
      this.#published.get(trackSid) ?? [...this.#announced.values()].find((track) => track.sid === trackSid)
    );
  }

  /**
   * Registers an addTrack request. The same cid announced again returns the same track.
   * @throws ServiceError permission_denied | resource_exhausted | invalid_argument
   */
  announce(request: AddTrackRequest): { track: PublishedTrack; alreadyOffered: boolean } {
    const source = sourceFromWire(request.source);
    if (!mayPublishSource(this.#host.permissions(), source)) {
      throw new ServiceError('permission_denied', `not allowed to publish source ${source}`);
    }
    if (request.cid === '') {
      throw new ServiceError('invalid_argument', 'addTrack without a cid');
    }
    const known = this.#announced.get(request.cid);
    if (known !== undefined) {
      return { track: known, alreadyOffered: false };
    }
    if (this.#announced.size + this.#published.size >= PARTICIPANT_LIMITS.maxPublishedTracks) {
      throw new ServiceError(
        'resource_exhausted',
        `at most ${PARTICIPANT_LIMITS.maxPublishedTracks} tracks per participant`,
      );
    }
    const track = new PublishedTrack(request, this.#host);
    this.#announced.set(track.cid, track);
    return { track, alreadyOffered: [...track.cids].some((cid) => this.#unclaimed.has(cid)) };
  }

  /**
   * Finds the announced track of every sending section. A section named by a track's cid gets that track; then
   * sections keep the track they had (a client that replaced the track object offers another msid); what is left
   * goes by kind, in order of announcement.
   */
  claimAll(sections: readonly SendingSection[]): Map<string, PublishedTrack> {
    const claims = new Map<string, PublishedTrack>();
    const free = new Set(this.#announced.values());
    const take = (section: SendingSection, track: PublishedTrack | undefined): void => {
      if (track !== undefined) {
        claims.set(section.mid, track);
        free.delete(track);
      }
    };
    for (const section of sections) {
      const named = [...free].find(
        (track) =>
          track.kind === section.kind &&
          (track.cids.has(section.trackId) || track.cids.has(section.streamId)),
      );
      take(section, named ?? this.#byMid.get(section.mid));
    }
    this.#unclaimed = new Set();
    for (const section of sections.filter(({ mid }) => !claims.has(mid))) {
      take(
        section,
        [...free].find((track) => track.kind === section.kind),
      );
      if (!claims.has(section.mid)) {
        this.#unclaimed.add(section.trackId);
      }
    }
    return claims;
  }

  published(track: PublishedTrack, mid: string): void {
    this.#byMid.set(mid, track);
    this.#announced.delete(track.cid);
    if (!this.#published.has(track.sid)) {
      this.#published.set(track.sid, track);
      this.#becameReady.add(track);
    }
  }

  ended(track: PublishedTrack): void {
    for (const [mid, other] of this.#byMid) {
      if (other === track) {
        this.#byMid.delete(mid);
      }
    }
    this.#announced.delete(track.cid);
    this.#becameReady.delete(track);
    track.media = undefined;
    if (this.#published.delete(track.sid)) {
      this.#host.trackGone(track);
    }
  }

  /** Published tracks whose source the current permissions no longer cover. */
  notAllowed(): PublishedTrack[] {
    const permissions = this.#host.permissions();
    return this.tracks().filter((track) => !mayPublishSource(permissions, sourceFromWire(track.source)));
  }

  /** After the answer was sent: tracks it brought become visible to the others. */
  flushReady(): void {
    for (const track of this.#becameReady) {
      this.#becameReady.delete(track);
      this.#host.trackReady(track);
    }
  }

  endAll(): void {
    for (const track of [...this.#published.values(), ...this.#announced.values()]) {
      this.ended(track);
    }
  }
}
