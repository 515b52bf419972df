import { ServiceError } from '../../base/errors.ts';

/** Ways a room ends that are no failure of the recording; LiveKit's DisconnectReason names. */
const ROOM_ENDED: ReadonlySet<string> = new Set(['ROOM_DELETED', 'ROOM_CLOSED', 'PARTICIPANT_REMOVED']);

export function isRoomEnd(reason: string): boolean {
  return ROOM_ENDED.has(reason);
}

export function connectionLost(reason: string): ServiceError {
  return new ServiceError(
    'unavailable',
    `recording ended early: connection to room failed (${reason}); what was recorded until then is kept`,
  );
}

export function stoppedBeforeStart(): ServiceError {
  return new ServiceError('canceled', 'stop called before the recording could start');
}
