import type * as livekit from '@livekit/protocol';
import type { RequestedJob, StorageTarget } from './egress.ts';
import {
  readParticipant,
  readRoomComposite,
  readTrack,
  readTrackComposite,
  readWeb,
} from './egress-request/first-api.ts';
import { readStartEgress } from './egress-request/second-api.ts';
import { invalidField, notSupported } from './presets.ts';

type Requests =
  | { case: 'egress'; value: livekit.StartEgressRequest }
  | { case: 'replay'; value: livekit.ExportReplayRequest }
  | { case: 'roomComposite'; value: livekit.RoomCompositeEgressRequest }
  | { case: 'web'; value: livekit.WebEgressRequest }
  | { case: 'participant'; value: livekit.ParticipantEgressRequest }
  | { case: 'trackComposite'; value: livekit.TrackCompositeEgressRequest }
  | { case: 'track'; value: livekit.TrackEgressRequest }
  | { case: undefined; value?: undefined };

/**
 * One job from any request shape of LiveKit's two API generations. `defaultStorage` holds where the request names none.
 * @throws ServiceError invalid_argument or unimplemented, naming the field.
 */
export function readRequest(request: Requests, defaultStorage: StorageTarget): RequestedJob {
  switch (request.case) {
    case 'roomComposite':
      return readRoomComposite(request.value, defaultStorage);
    case 'web':
      return readWeb(request.value, defaultStorage);
    case 'participant':
      return readParticipant(request.value, defaultStorage);
    case 'trackComposite':
      return readTrackComposite(request.value, defaultStorage);
    case 'track':
      return readTrack(request.value, defaultStorage);
    case 'egress':
      return readStartEgress(request.value, defaultStorage);
    case 'replay':
      throw notSupported('replay (LiveKit Cloud only)');
    case undefined:
      throw invalidField('request');
  }
}
