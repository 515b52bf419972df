import { TrackSubscribed } from '@livekit/protocol';
import type { TrackPermissionPolicy } from '../model/track-permission.ts';
import type { ParticipantSession } from './participant-session.ts';
import type { PublishedTrack } from './published-track.ts';
import type { RoomSession } from './room-session.ts';

/** What is published in a room, and the meeting of publishers with subscribers. */
export class RoomTracks {
  readonly #room: RoomSession;
  readonly #tracks = new Map<string, PublishedTrack>();

  constructor(room: RoomSession) {
    this.#room = room;
  }

  /** Media of a track is negotiated. Hidden publishers' tracks are shown to nobody. */
  ready(publisher: ParticipantSession, track: PublishedTrack): void {
    publisher.logger.info({ trackSid: track.sid, mime: track.info.mimeType }, 'track published');
    this.#room.participantChanged(publisher);
    this.#room.news.trackPublished(publisher, track.info);
    if (!publisher.isHidden) {
      this.#tracks.set(track.sid, track);
      this.#reconsider(track);
      this.demandChanged(track);
    }
  }

  gone(publisher: ParticipantSession, track: PublishedTrack): void {
    publisher.logger.info({ trackSid: track.sid }, 'track unpublished');
    this.#tracks.delete(track.sid);
    for (const participant of this.#room.participants()) {
      participant.subscriptions.forget(track);
    }
    this.#room.news.trackUnpublished(publisher, track.info);
    if (!publisher.isClosed) {
      this.#room.participantChanged(publisher);
    }
  }

  /** A track by id as `viewer` sees it: its own are not among them. */
  visible(trackSid: string, viewer: ParticipantSession): PublishedTrack | undefined {
    const track = this.#tracks.get(trackSid);
    return track?.publisherSid === viewer.sid ? undefined : track;
  }

  /** First packets are about to flow to somebody. */
  subscribed(track: PublishedTrack): void {
    if (!track.announcedToPublisher) {
      track.announcedToPublisher = true;
      const value = new TrackSubscribed({ trackSid: track.sid });
      this.#publisherOf(track)?.send({ case: 'trackSubscribed', value });
    }
  }

  demandChanged(track: PublishedTrack): void {
    if (track.media !== undefined) {
      this.#publisherOf(track)?.dynacast.demandChanged(track);
    }
  }

  policyOf(track: PublishedTrack): TrackPermissionPolicy {
    return this.#publisherOf(track)?.trackPermissions ?? { allow: 'listed', rules: [] };
  }

  policyChanged(publisher: ParticipantSession): void {
    for (const track of publisher.publishing.tracks()) {
      if (this.#tracks.has(track.sid)) {
        this.#reconsider(track);
      }
    }
  }

  /** A participant came, or its rights changed. */
  reconsiderFor(participant: ParticipantSession): void {
    for (const track of this.#tracks.values()) {
      if (track.publisherSid !== participant.sid) {
        participant.subscriptions.reconsider(track);
      }
    }
  }

  #reconsider(track: PublishedTrack): void {
    for (const participant of this.#room.participants()) {
      if (participant.sid !== track.publisherSid) {
        participant.subscriptions.reconsider(track);
      }
    }
  }

  #publisherOf(track: PublishedTrack): ParticipantSession | undefined {
    const publisher = this.#room.find(track.publisherIdentity);
    return publisher?.sid === track.publisherSid ? publisher : undefined;
  }
}
