import type { Message, MessageType } from '@bufbuild/protobuf';
import * as livekit from '@livekit/protocol';
import { ServiceError } from '../base/errors.ts';
import type { Bus, RpcMethod } from '../bus/bus.ts';
import { RoomInternal } from '../bus/rpc-methods.ts';
import { route, type ApiRoute } from './api-method.ts';
import type { RequiredGrant } from './grant-check.ts';

const SERVICE = 'livekit.RoomService';

/** LiveKit's default limits. */
const LIMITS = { roomNameChars: 256, identityChars: 256, nameChars: 256, metadataBytes: 64_000 } as const;

/** `livekit.RoomService`: checks what the caller sent, then asks the SFU over the bus. */
export function roomApi(bus: Bus): ApiRoute[] {
  function admin<Req extends Message<Req> & { room: string }, Res extends Message<Res>>(
    rpc: RpcMethod<Req, Res>,
    check: (request: Req) => void = () => undefined,
  ): ApiRoute {
    return forward(rpc, rpc.request, 'roomAdmin', check, (request) => request.room);
  }

  function forward<Req extends Message<Req>, Res extends Message<Res>>(
    rpc: RpcMethod<Req, Res>,
    request: MessageType<Req>,
    grant: RequiredGrant,
    check: (request: Req) => void = () => undefined,
    room?: (request: Req) => string,
  ): ApiRoute {
    return route({
      service: SERVICE,
      method: rpc.method,
      request,
      response: rpc.response,
      grant,
      ...(room === undefined ? {} : { room }),
      handle: (message) => {
        check(message);
        return bus.request(rpc, message);
      },
    });
  }

  return [
    forward(RoomInternal.createRoom, livekit.CreateRoomRequest, 'roomCreate', checkCreateRoom),
    forward(RoomInternal.listRooms, livekit.ListRoomsRequest, 'roomList'),
    forward(RoomInternal.deleteRoom, livekit.DeleteRoomRequest, 'roomCreate', (request) => {
      checkRoomName(request.room);
    }),
    admin(RoomInternal.listParticipants),
    admin(RoomInternal.getParticipant, checkIdentity),
    admin(RoomInternal.removeParticipant, checkIdentity),
    admin(RoomInternal.mutePublishedTrack, checkIdentity),
    admin(RoomInternal.updateParticipant, (request) => {
      checkIdentity(request);
      checkName(request.name);
      checkMetadata(request.metadata);
      checkAttributes(request.attributes);
    }),
    admin(RoomInternal.updateSubscriptions, checkIdentity),
    admin(RoomInternal.sendData),
    admin(RoomInternal.updateRoomMetadata, (request) => {
      checkMetadata(request.metadata);
    }),
  ];
}

function checkCreateRoom(request: livekit.CreateRoomRequest): void {
  checkRoomName(request.name);
  checkMetadata(request.metadata);
  if (request.egress !== undefined) {
    throw new ServiceError(
      'unimplemented',
      'CreateRoom: "egress" (recording started by the room) is not in this version; call StartRoomCompositeEgress',
    );
  }
}

function checkRoomName(name: string): void {
  if (name === '') {
    throw new ServiceError('invalid_argument', 'no room name');
  }
  if (name.length > LIMITS.roomNameChars) {
    throw new ServiceError(
      'invalid_argument',
      `room name length exceeds limits: max length ${LIMITS.roomNameChars}`,
    );
  }
}

function checkIdentity(request: { identity: string }): void {
  if (request.identity === '') {
    throw new ServiceError('invalid_argument', 'identity cannot be empty');
  }
  if (request.identity.length > LIMITS.identityChars) {
    throw new ServiceError(
      'invalid_argument',
      `participant identity length exceeds limits: max length ${LIMITS.identityChars}`,
    );
  }
}

function checkName(name: string): void {
  if (name.length > LIMITS.nameChars) {
    throw new ServiceError('invalid_argument', `name length exceeds limits: max length ${LIMITS.nameChars}`);
  }
}

function checkMetadata(metadata: string): void {
  if (Buffer.byteLength(metadata) > LIMITS.metadataBytes) {
    throw new ServiceError(
      'invalid_argument',
      `metadata size exceeds limits: max size ${LIMITS.metadataBytes}`,
    );
  }
}

function checkAttributes(attributes: Record<string, string>): void {
  const bytes = Object.entries(attributes).reduce(
    (sum, [key, value]) => sum + Buffer.byteLength(key) + Buffer.byteLength(value),
    0,
  );
  if (bytes > LIMITS.metadataBytes) {
    throw new ServiceError(
      'invalid_argument',
      `attribute size exceeds limits: max size ${LIMITS.metadataBytes}`,
    );
  }
}
