import {
  RemoteVideoTrack,
  RoomEvent,
  Track,
  type RemoteParticipant,
  type RemoteTrack,
  type Room,
} from 'livekit-client';

/** Chrome still moves the sound of a new track into place: it is looked at more often at first. */
const INTERVALS_MS = { early: 250, later: 1_000 };
const EARLY_ROUNDS = 40;

/**
 * Asks Chrome again and again which moment of its publisher's clock every picture and its sound are at. Chrome itself
 * leaves up to 30 ms between them, and takes seconds to get there.
 */
export function watchLipSync(room: Room, onLead: (track: RemoteVideoTrack, leadMs: number) => void): void {
  let rounds = 0;
  const look = async (): Promise<void> => {
    for (const participant of room.remoteParticipants.values()) {
      for (const { picture, sound } of pairs(participant)) {
        const leadMs = await leadOf(picture, sound).catch(() => undefined);
        if (leadMs !== undefined) {
          onLead(picture, leadMs);
        }
      }
    }
    rounds += 1;
    setTimeout(() => void look(), rounds < EARLY_ROUNDS ? INTERVALS_MS.early : INTERVALS_MS.later);
  };
  room.on(RoomEvent.TrackSubscribed, () => {
    rounds = 0;
  });
  void look();
}

function pairs(participant: RemoteParticipant): { picture: RemoteVideoTrack; sound: RemoteTrack }[] {
  const publications = [...participant.trackPublications.values()];
  const sounds = publications.filter(({ kind }) => kind === Track.Kind.Audio);
  const soundOf = (wanted: Track.Source): RemoteTrack | undefined =>
    sounds.find(({ source }) => source === wanted)?.track;
  const voice = soundOf(Track.Source.Microphone) ?? sounds[0]?.track;
  return publications.flatMap(({ source, track }) => {
    const sound = source === Track.Source.ScreenShare ? soundOf(Track.Source.ScreenShareAudio) : voice;
    return track instanceof RemoteVideoTrack && sound !== undefined ? [{ picture: track, sound }] : [];
  });
}

async function leadOf(picture: RemoteTrack, sound: RemoteTrack): Promise<number | undefined> {
  const [shown, heard] = await Promise.all([playoutOf(picture), playoutOf(sound)]);
  return shown === undefined || heard === undefined ? undefined : shown - heard;
}

/** Milliseconds between the publisher's clock at what is played and ours; undefined until sender reports tell. */
async function playoutOf(track: RemoteTrack): Promise<number | undefined> {
  const report = await track.receiver?.getStats();
  for (const stats of report?.values() ?? []) {
    const { type, timestamp, estimatedPlayoutTimestamp } = stats as {
      type: string;
      timestamp: number;
      estimatedPlayoutTimestamp?: number;
    };
    if (type === 'inbound-rtp' && estimatedPlayoutTimestamp !== undefined) {
      return estimatedPlayoutTimestamp - timestamp;
    }
  }
  return undefined;
}
