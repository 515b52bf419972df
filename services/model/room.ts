/** Settings of a room, nothing optional; times in seconds as on LiveKit's wire. */
export type RoomSettings = {
  name: string;
  /** Closes the room when nobody has joined for this long after its creation. */
  emptyTimeoutS: number;
  /** Closes the room this long after the last participant left. */
  departureTimeoutS: number;
  /** 0 = unlimited. */
  maxParticipants: number;
  metadata: string;
};

export const ROOM_LIMITS = { maxNameLength: 256, maxMetadataBytes: 64 * 1024 } as const;

export const ROOM_DEFAULTS = {
  emptyTimeoutS: 300,
  departureTimeoutS: 20,
  maxParticipants: 0,
  metadata: '',
} as const;

/** What participants may publish, best first; LiveKit's `room.enabled_codecs`. */
export const ENABLED_CODECS = ['audio/opus', 'video/VP8', 'video/H264', 'video/VP9', 'video/AV1'] as const;

/** Rooms in which an encoder's media only waits to be transcoded: no list and no webhook tells of them. */
const RELAY_ROOM_PREFIX = 'sluice-relay-';

export function relayRoomName(resourceId: string): string {
  return RELAY_ROOM_PREFIX + resourceId;
}

export function isRelayRoom(name: string): boolean {
  return name.startsWith(RELAY_ROOM_PREFIX);
}

/** Why a room cannot be created with these settings; undefined = fine. */
export function roomProblem(settings: RoomSettings): string | undefined {
  if (settings.name === '') {
    return 'no room name';
  }
  if (settings.name.length > ROOM_LIMITS.maxNameLength) {
    return `room name length exceeds limits, max length: ${ROOM_LIMITS.maxNameLength}`;
  }
  if (Buffer.byteLength(settings.metadata) > ROOM_LIMITS.maxMetadataBytes) {
    return `metadata size exceeds limits, max size: ${ROOM_LIMITS.maxMetadataBytes}`;
  }
  return undefined;
}
