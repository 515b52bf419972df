import type { Message, MessageType } from '@bufbuild/protobuf';
import * as livekit from '@livekit/protocol';
import type { RpcMethod } from './bus.ts';
import {
  Empty,
  GetEgressRequest,
  GetIngressInfoRequest,
  GetIngressInfoResponse,
  RpcStartEgressRequest,
  UpdateIngressStateRequest,
} from './rpc-messages.ts';

function rpc<Req extends Message<Req>, Res extends Message<Res>>(
  service: string,
  method: string,
  request: MessageType<Req>,
  response: MessageType<Res>,
  affinity = false,
): RpcMethod<Req, Res> {
  return { service, method, request, response, affinity };
}

/** API → SFU. Ours alone: LiveKit's server keeps rooms and API in one program. */
export const RoomInternal = {
  createRoom: rpc('RoomInternal', 'CreateRoom', livekit.CreateRoomRequest, livekit.Room),
  listRooms: rpc('RoomInternal', 'ListRooms', livekit.ListRoomsRequest, livekit.ListRoomsResponse),
  deleteRoom: rpc('RoomInternal', 'DeleteRoom', livekit.DeleteRoomRequest, livekit.DeleteRoomResponse),
  listParticipants: rpc(
    'RoomInternal',
    'ListParticipants',
    livekit.ListParticipantsRequest,
    livekit.ListParticipantsResponse,
  ),
  getParticipant: rpc(
    'RoomInternal',
    'GetParticipant',
    livekit.RoomParticipantIdentity,
    livekit.ParticipantInfo,
  ),
  removeParticipant: rpc(
    'RoomInternal',
    'RemoveParticipant',
    livekit.RoomParticipantIdentity,
    livekit.RemoveParticipantResponse,
  ),
  mutePublishedTrack: rpc(
    'RoomInternal',
    'MutePublishedTrack',
    livekit.MuteRoomTrackRequest,
    livekit.MuteRoomTrackResponse,
  ),
  updateParticipant: rpc(
    'RoomInternal',
    'UpdateParticipant',
    livekit.UpdateParticipantRequest,
    livekit.ParticipantInfo,
  ),
  updateSubscriptions: rpc(
    'RoomInternal',
    'UpdateSubscriptions',
    livekit.UpdateSubscriptionsRequest,
    livekit.UpdateSubscriptionsResponse,
  ),
  sendData: rpc('RoomInternal', 'SendData', livekit.SendDataRequest, livekit.SendDataResponse),
  updateRoomMetadata: rpc(
    'RoomInternal',
    'UpdateRoomMetadata',
    livekit.UpdateRoomMetadataRequest,
    livekit.Room,
  ),
};

/** API → an egress node, by affinity; egress id as topic once the handler runs. */
export const EgressInternal = {
  startEgress: rpc('EgressInternal', 'StartEgress', RpcStartEgressRequest, livekit.EgressInfo, true),
};
export const EgressHandler = {
  stopEgress: rpc('EgressHandler', 'StopEgress', livekit.StopEgressRequest, livekit.EgressInfo),
  updateStream: rpc('EgressHandler', 'UpdateStream', livekit.UpdateStreamRequest, livekit.EgressInfo),
};

/** API → the ingress session that runs for an ingress id (topic). */
export const IngressHandler = {
  updateIngress: rpc('IngressHandler', 'UpdateIngress', livekit.UpdateIngressRequest, livekit.IngressState),
  deleteIngress: rpc('IngressHandler', 'DeleteIngress', livekit.DeleteIngressRequest, livekit.IngressState),
};

/** Workers → API: the records everybody can list. */
export const IOInfo = {
  createEgress: rpc('IOInfo', 'CreateEgress', livekit.EgressInfo, Empty),
  updateEgress: rpc('IOInfo', 'UpdateEgress', livekit.EgressInfo, Empty),
  getEgress: rpc('IOInfo', 'GetEgress', GetEgressRequest, livekit.EgressInfo),
  listEgress: rpc('IOInfo', 'ListEgress', livekit.ListEgressRequest, livekit.ListEgressResponse),
  getIngressInfo: rpc('IOInfo', 'GetIngressInfo', GetIngressInfoRequest, GetIngressInfoResponse),
  updateIngressState: rpc('IOInfo', 'UpdateIngressState', UpdateIngressStateRequest, Empty),
};
