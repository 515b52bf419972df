import {
  RoomEvent,
  Track,
  type RemoteParticipant,
  type RemoteTrack,
  type RemoteTrackPublication,
  RemoteVideoTrack,
  type Room,
} from 'livekit-client';
import type { StageCandidate } from '../../layouts/stage-order.ts';

/** One tile's worth of room state: a person (with or without a picture) or a shared screen. */
export type RoomTile = StageCandidate & {
  name: string;
  /** Seeds the avatar's colour. */
  identity: string;
  isMuted: boolean;
  publication: RemoteTrackPublication | undefined;
  videoTrack: RemoteVideoTrack | undefined;
};

const CHANGES = [
  RoomEvent.Connected,
  RoomEvent.Reconnected,
  RoomEvent.ParticipantConnected,
  RoomEvent.ParticipantDisconnected,
  RoomEvent.ParticipantNameChanged,
  RoomEvent.TrackPublished,
  RoomEvent.TrackUnpublished,
  RoomEvent.TrackSubscribed,
  RoomEvent.TrackUnsubscribed,
  RoomEvent.TrackMuted,
  RoomEvent.TrackUnmuted,
  RoomEvent.ActiveSpeakersChanged,
] as const;

/** Calls `changed` whenever tiles may look different; several events of one moment make one call. */
export function onRoomChange(room: Room, changed: () => void): void {
  let scheduled = false;
  const schedule = (): void => {
    if (!scheduled) {
      scheduled = true;
      queueMicrotask(() => {
        scheduled = false;
        changed();
      });
    }
  };
  for (const event of CHANGES) {
    room.on(event, schedule);
  }
}

/**
 * How long pictures and sound wait before they are played. A recording is in no hurry: lost packets come again in
 * time, and with one delay for both, picture and sound are together from the first second. Left to itself,
 * Chrome starts both at their own least delay and takes many seconds to bring them together.
 */
const PLAYOUT_DELAY_MS = 300;

/** Paces every remote track and plays the sounds; what the tab plays is what is recorded. */
export function playRoom(room: Room, parent: HTMLElement): void {
  room.on(RoomEvent.TrackSubscribed, (track: RemoteTrack) => {
    if (track.receiver !== undefined) {
      track.receiver.jitterBufferTarget = PLAYOUT_DELAY_MS;
    }
    if (track.kind === Track.Kind.Audio) {
      parent.append(track.attach());
    }
  });
  room.on(RoomEvent.TrackUnsubscribed, (track: RemoteTrack) => {
    for (const element of track.detach()) {
      element.remove();
    }
  });
}

/** People who publish something, and shared screens. Silent viewers get no tile. */
export function roomTiles(room: Room): RoomTile[] {
  return [...room.remoteParticipants.values()].flatMap(participantTiles);
}

function participantTiles(participant: RemoteParticipant, index: number): RoomTile[] {
  const publications = [...participant.trackPublications.values()].filter(
    (publication): publication is RemoteTrackPublication => 'isSubscribed' in publication,
  );
  if (publications.length === 0) {
    return [];
  }
  const videos = publications.filter(({ kind }) => kind === Track.Kind.Video);
  const screens = videos.filter(({ source }) => source === Track.Source.ScreenShare);
  const [camera] = videos.filter(({ source }) => source !== Track.Source.ScreenShare);
  const microphone = publications.find(
    ({ kind, source }) => kind === Track.Kind.Audio && source !== Track.Source.ScreenShareAudio,
  );
  const identity = participant.identity;
  const name = participant.name === undefined || participant.name === '' ? identity : participant.name;
  // Known to the second only; the room lists participants in the order they joined.
  const joinedAtMs = (participant.joinedAt?.getTime() ?? 0) + index;
  const person: RoomTile[] =
    camera === undefined && microphone === undefined
      ? []
      : [
          {
            id: participant.sid,
            role: 'camera',
            name,
            identity,
            joinedAtMs,
            isSpeaking: participant.isSpeaking,
            isMuted: microphone?.isMuted ?? false,
            hasPicture: camera !== undefined && liveVideo(camera) !== undefined,
            publication: camera,
            videoTrack: camera === undefined ? undefined : liveVideo(camera),
          },
        ];
  return [
    ...person,
    ...screens
      .filter((screen) => liveVideo(screen) !== undefined)
      .map((screen) => ({
        id: screen.trackSid,
        role: 'screen' as const,
        name: `${name} (screen)`,
        identity,
        joinedAtMs,
        isSpeaking: false,
        isMuted: false,
        hasPicture: true,
        publication: screen,
        videoTrack: liveVideo(screen),
      })),
  ];
}

function liveVideo(publication: RemoteTrackPublication): RemoteVideoTrack | undefined {
  const { videoTrack } = publication;
  return !publication.isMuted && videoTrack instanceof RemoteVideoTrack ? videoTrack : undefined;
}
