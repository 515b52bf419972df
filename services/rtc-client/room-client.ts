import type { ConnectRoom, RoomClient } from './room-client-types.ts';
import { RoomSession } from './room-session.ts';

/**
 * Joins a room of a LiveKit-compatible server to publish and receive encoded media. Resolves when signalling and
 * media are connected. Reconnects by itself afterwards; `disconnected` is terminal.
 * @throws ServiceError unauthenticated | permission_denied | not_found | unavailable | deadline_exceeded | canceled.
 */
export const connectRoom: ConnectRoom = async (options): Promise<RoomClient> => {
  const session = new RoomSession(options);
  await session.connect();
  return session;
};
