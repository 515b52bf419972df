/* eslint-disable @typescript-eslint/no-deprecated -- clients in the field still read and write these fields */
import {
  DataPacket,
  DataPacket_Kind,
  DeleteRoomResponse,
  DisconnectReason,
  ListParticipantsResponse,
  ListRoomsResponse,
  MuteRoomTrackResponse,
  RemoveParticipantResponse,
  SendDataResponse,
  UpdateSubscriptionsResponse,
  UserPacket,
} from '@livekit/protocol';
import { ServiceError } from '../base/errors.ts';
import { participantTextProblem } from '../model/participant.ts';
import { ROOM_LIMITS } from '../model/room.ts';
import type { Bus, Unregister } from '../bus/bus.ts';
import { RoomInternal } from '../bus/rpc-methods.ts';
import type { PublishedTrack } from './published-track.ts';
import type { ParticipantSession } from './participant-session.ts';
import type { RoomRegistry } from './room-registry.ts';
import { permissionsFromWire } from './wire-convert.ts';

export type RoomRpcOptions = { bus: Bus; rooms: RoomRegistry; enableRemoteUnmute: boolean };

/** Serves RoomInternal on the bus: what the API may do with rooms, with LiveKit's codes and texts. */
export async function serveRoomRpc({ bus, rooms, enableRemoteUnmute }: RoomRpcOptions): Promise<Unregister> {
  const registrations = await Promise.all([
    bus.serve(RoomInternal.createRoom, (request) =>
      settle(() => {
        const room = rooms.create({
          name: request.name,
          metadata: request.metadata,
          ...(request.emptyTimeout > 0 ? { emptyTimeoutS: request.emptyTimeout } : {}),
          ...(request.departureTimeout > 0 ? { departureTimeoutS: request.departureTimeout } : {}),
          ...(request.maxParticipants > 0 ? { maxParticipants: request.maxParticipants } : {}),
        });
        return room.info();
      }),
    ),
    bus.serve(RoomInternal.listRooms, ({ names }) =>
      settle(() => {
        const listed = rooms.listed().filter((room) => names.length === 0 || names.includes(room.name));
        return new ListRoomsResponse({ rooms: listed.map((room) => room.info()) });
      }),
    ),
    bus.serve(RoomInternal.deleteRoom, ({ room }) =>
      settle(() => {
        rooms.get(room).close(DisconnectReason.ROOM_DELETED);
        return new DeleteRoomResponse();
      }),
    ),
    bus.serve(RoomInternal.listParticipants, ({ room }) =>
      settle(() => {
        const listed = rooms
          .get(room)
          .participants()
          .filter((participant) => !participant.isHidden);
        return new ListParticipantsResponse({
          participants: listed.map((participant) => participant.info()),
        });
      }),
    ),
    bus.serve(RoomInternal.getParticipant, ({ room, identity }) =>
      settle(() => rooms.get(room).participant(identity).info()),
    ),
    bus.serve(RoomInternal.removeParticipant, ({ room, identity }) =>
      settle(() => {
        rooms.get(room).participant(identity).close(DisconnectReason.PARTICIPANT_REMOVED, 'disconnect');
        return new RemoveParticipantResponse();
      }),
    ),
    bus.serve(RoomInternal.mutePublishedTrack, ({ room, identity, trackSid, muted }) =>
      settle(() => {
        const participant = rooms.get(room).participant(identity);
        const track = publishedTrack(participant, trackSid);
        if (!muted && track.muted && !enableRemoteUnmute) {
          throw new ServiceError('failed_precondition', 'remote unmute not enabled');
        }
        participant.muteTrack(track, muted);
        return new MuteRoomTrackResponse({ track: track.info });
      }),
    ),
    bus.serve(RoomInternal.updateParticipant, (request) =>
      settle(() => {
        const participant = rooms.get(request.room).participant(request.identity);
        const problem = participantTextProblem(request);
        if (problem !== undefined) {
          throw new ServiceError('invalid_argument', problem);
        }
        if (request.permission !== undefined) {
          participant.setPermissions(permissionsFromWire(request.permission));
        }
        participant.updateText(request);
        return participant.info();
      }),
    ),
    bus.serve(RoomInternal.updateSubscriptions, (request) =>
      settle(() => {
        const sids = [
          ...request.trackSids,
          ...request.participantTracks.flatMap((tracks) => tracks.trackSids),
        ];
        rooms.get(request.room).participant(request.identity).subscriptions.choose(sids, request.subscribe);
        return new UpdateSubscriptionsResponse();
      }),
    ),
    bus.serve(RoomInternal.sendData, (request) =>
      settle(() => {
        const packet = new DataPacket({
          kind: request.kind,
          destinationIdentities: request.destinationIdentities,
          value: {
            case: 'user',
            value: new UserPacket({
              payload: request.data,
              destinationSids: request.destinationSids,
              destinationIdentities: request.destinationIdentities,
              nonce: request.nonce,
              ...(request.topic === undefined ? {} : { topic: request.topic }),
            }),
          },
        });
        const reliability = request.kind === DataPacket_Kind.LOSSY ? 'lossy' : 'reliable';
        rooms.get(request.room).sendData(packet, reliability);
        return new SendDataResponse();
      }),
    ),
    bus.serve(RoomInternal.updateRoomMetadata, (request) =>
      settle(() => {
        const room = rooms.get(request.room);
        if (Buffer.byteLength(request.metadata) > ROOM_LIMITS.maxMetadataBytes) {
          const limit = ROOM_LIMITS.maxMetadataBytes;
          throw new ServiceError('invalid_argument', `metadata size exceeds limits, max size: ${limit}`);
        }
        room.setMetadata(request.metadata);
        return room.info();
      }),
    ),
  ]);
  return async () => {
    await Promise.all(registrations.map((unregister) => unregister()));
  };
}

/** A bus handler's answer as a promise, whether it returns or throws. */
function settle<T>(work: () => T): Promise<T> {
  return new Promise((resolve) => {
    resolve(work());
  });
}

function publishedTrack(participant: ParticipantSession, trackSid: string): PublishedTrack {
  const track = participant.publishing.find(trackSid);
  if (track === undefined) {
    throw new ServiceError('not_found', 'track not found');
  }
  return track;
}
