import { ParticipantInfo, Room, type TrackInfo, type WebhookEvent } from '@livekit/protocol';
import type { PartialMessage } from '@bufbuild/protobuf';
import type { ParticipantSession } from './participant-session.ts';

/** Told of what happens in rooms, in LiveKit's webhook events without id and time. Must not throw. */
export type OnRoomEvent = (event: PartialMessage<WebhookEvent>) => void;

/** What the outside world hears of one room. */
export class RoomNews {
  readonly #room: () => Room;
  readonly #tell: OnRoomEvent;
  /** Sessions that were announced: only they can leave; the others never got in. */
  readonly #announced = new Set<string>();

  constructor(room: () => Room, tell: OnRoomEvent) {
    this.#room = room;
    this.#tell = tell;
  }

  roomStarted(): void {
    this.#tell({ event: 'room_started', room: this.#room() });
  }

  roomFinished(): void {
    this.#tell({ event: 'room_finished', room: this.#room() });
  }

  /** Media can flow: this is what LiveKit calls joined. */
  participantActive(participant: ParticipantSession): void {
    this.#announced.add(participant.sid);
    this.#tell({ event: 'participant_joined', room: this.#room(), participant: participant.info() });
  }

  participantGone(participant: ParticipantSession): void {
    const event = this.#announced.delete(participant.sid)
      ? 'participant_left'
      : 'participant_connection_aborted';
    this.#tell({ event, room: this.#room(), participant: participant.info() });
  }

  trackPublished(publisher: ParticipantSession, track: TrackInfo): void {
    this.#track('track_published', publisher, track);
  }

  trackUnpublished(publisher: ParticipantSession, track: TrackInfo): void {
    this.#track('track_unpublished', publisher, track);
  }

  /** Of room and participant only what names them, as LiveKit. */
  #track(event: string, { sid, identity }: ParticipantSession, track: TrackInfo): void {
    const { sid: roomSid, name } = this.#room();
    this.#tell({
      event,
      room: new Room({ sid: roomSid, name }),
      participant: new ParticipantInfo({ sid, identity }),
      track: track.clone(),
    });
  }
}
