import { mintToken } from '../protocol/token.ts';

const TTL_S = 24 * 3600;

/** Lets a job's recorder into the room: hidden, and as a subscriber only. */
export function recorderToken(
  room: { apiKey: string; apiSecret: string },
  egressId: string,
  roomName: string,
): Promise<string> {
  return mintToken(room.apiKey, room.apiSecret, {
    identity: egressId,
    kind: 'egress',
    ttlS: TTL_S,
    video: {
      roomJoin: true,
      room: roomName,
      canSubscribe: true,
      canPublish: false,
      canPublishData: false,
      hidden: true,
      recorder: true,
    },
  });
}
