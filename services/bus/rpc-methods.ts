import type { Message, MessageType } from '@bufbuild/protobuf';
import * as livekit from '@livekit/protocol';
import type { RpcMethod, RpcRouting } from './bus.ts';
import {
  CreateIngressResponse,
  DeleteWHIPResourceRequest,
  Empty,
  GetEgressRequest,
  GetIngressInfoRequest,
  GetIngressInfoResponse,
  ICERestartWHIPResourceRequest,
  ICERestartWHIPResourceResponse,
  ListActiveEgressRequest,
  ListActiveEgressResponse,
  ListActiveIngressRequest,
  ListActiveIngressResponse,
  RpcStartEgressRequest,
  StartIngressRequest,
  UpdateIngressStateRequest,
  UpdateMetricsRequest,
  WHIPRTCConnectionNotifyRequest,
} from './rpc-messages.ts';

/** The first server that claims the request gets it. */
const CLAIMED: RpcRouting = {
  affinity: false,
  requireClaim: true,
  queue: false,
  multi: false,
  shortCircuitMs: 0,
};
/** One consumer of many, then claimed: LiveKit's default for services with equal servers. */
const QUEUED: RpcRouting = { ...CLAIMED, queue: true };
/** One consumer of many, without the round trip of a claim. */
const QUEUED_UNCLAIMED: RpcRouting = { ...QUEUED, requireClaim: false };
/** The best bid wins. */
const BID: RpcRouting = { ...CLAIMED, affinity: true };
/** Everybody answers. */
const MULTI: RpcRouting = { ...CLAIMED, requireClaim: false, multi: true };

const EGRESS_SHORT_CIRCUIT_MS = 500;
const INGRESS_SHORT_CIRCUIT_MS = 200;

function rpc<Req extends Message<Req>, Res extends Message<Res>>(
  service: string,
  method: string,
  request: MessageType<Req>,
  response: MessageType<Res>,
  routing: RpcRouting,
): RpcMethod<Req, Res> {
  return { service, method, request, response, ...routing };
}

function room<Req extends Message<Req>, Res extends Message<Res>>(
  method: string,
  request: MessageType<Req>,
  response: MessageType<Res>,
): RpcMethod<Req, Res> {
  return rpc('RoomInternal', method, request, response, CLAIMED);
}

/** API → SFU. Ours alone: LiveKit's server keeps rooms and API in one program. */
export const RoomInternal = {
  createRoom: room('CreateRoom', livekit.CreateRoomRequest, livekit.Room),
  listRooms: room('ListRooms', livekit.ListRoomsRequest, livekit.ListRoomsResponse),
  deleteRoom: room('DeleteRoom', livekit.DeleteRoomRequest, livekit.DeleteRoomResponse),
  listParticipants: room(
    'ListParticipants',
    livekit.ListParticipantsRequest,
    livekit.ListParticipantsResponse,
  ),
  getParticipant: room('GetParticipant', livekit.RoomParticipantIdentity, livekit.ParticipantInfo),
  removeParticipant: room(
    'RemoveParticipant',
    livekit.RoomParticipantIdentity,
    livekit.RemoveParticipantResponse,
  ),
  mutePublishedTrack: room('MutePublishedTrack', livekit.MuteRoomTrackRequest, livekit.MuteRoomTrackResponse),
  updateParticipant: room('UpdateParticipant', livekit.UpdateParticipantRequest, livekit.ParticipantInfo),
  updateSubscriptions: room(
    'UpdateSubscriptions',
    livekit.UpdateSubscriptionsRequest,
    livekit.UpdateSubscriptionsResponse,
  ),
  sendData: room('SendData', livekit.SendDataRequest, livekit.SendDataResponse),
  updateRoomMetadata: room('UpdateRoomMetadata', livekit.UpdateRoomMetadataRequest, livekit.Room),
};

/** API → an egress node, by affinity; everybody lists its jobs. */
export const EgressInternal = {
  startEgress: rpc('EgressInternal', 'StartEgress', RpcStartEgressRequest, livekit.EgressInfo, {
    ...BID,
    shortCircuitMs: EGRESS_SHORT_CIRCUIT_MS,
  }),
  listActiveEgress: rpc(
    'EgressInternal',
    'ListActiveEgress',
    ListActiveEgressRequest,
    ListActiveEgressResponse,
    MULTI,
  ),
};
/** API → the node that runs a job; the topic is the egress id. */
export const EgressHandler = {
  stopEgress: rpc('EgressHandler', 'StopEgress', livekit.StopEgressRequest, livekit.EgressInfo, QUEUED),
  updateStream: rpc('EgressHandler', 'UpdateStream', livekit.UpdateStreamRequest, livekit.EgressInfo, QUEUED),
};

/** API → an ingress node that pulls a URL. */
export const IngressInternal = {
  startIngress: rpc('IngressInternal', 'StartIngress', StartIngressRequest, livekit.IngressInfo, {
    ...BID,
    shortCircuitMs: INGRESS_SHORT_CIRCUIT_MS,
  }),
  listActiveIngress: rpc(
    'IngressInternal',
    'ListActiveIngress',
    ListActiveIngressRequest,
    ListActiveIngressResponse,
    MULTI,
  ),
};
/**
 * API → the ingress session that runs. The topic is the ingress id for UpdateIngress and DeleteIngress, the
 * resource id for the WHIP resource, and the participant id for WHIPRTCConnectionNotify.
 */
export const IngressHandler = {
  updateIngress: rpc(
    'IngressHandler',
    'UpdateIngress',
    livekit.UpdateIngressRequest,
    livekit.IngressState,
    QUEUED,
  ),
  deleteIngress: rpc(
    'IngressHandler',
    'DeleteIngress',
    livekit.DeleteIngressRequest,
    livekit.IngressState,
    QUEUED,
  ),
  deleteWHIPResource: rpc('IngressHandler', 'DeleteWHIPResource', DeleteWHIPResourceRequest, Empty, QUEUED),
  iceRestartWHIPResource: rpc(
    'IngressHandler',
    'ICERestartWHIPResource',
    ICERestartWHIPResourceRequest,
    ICERestartWHIPResourceResponse,
    QUEUED,
  ),
  whipRTCConnectionNotify: rpc(
    'IngressHandler',
    'WHIPRTCConnectionNotify',
    WHIPRTCConnectionNotifyRequest,
    Empty,
    QUEUED_UNCLAIMED,
  ),
};

function ioInfo<Req extends Message<Req>, Res extends Message<Res>>(
  method: string,
  request: MessageType<Req>,
  response: MessageType<Res>,
): RpcMethod<Req, Res> {
  return rpc('IOInfo', method, request, response, QUEUED);
}

/** Workers → API: the records everybody can list. */
export const IOInfo = {
  createEgress: ioInfo('CreateEgress', livekit.EgressInfo, Empty),
  updateEgress: ioInfo('UpdateEgress', livekit.EgressInfo, Empty),
  getEgress: ioInfo('GetEgress', GetEgressRequest, livekit.EgressInfo),
  listEgress: ioInfo('ListEgress', livekit.ListEgressRequest, livekit.ListEgressResponse),
  updateMetrics: ioInfo('UpdateMetrics', UpdateMetricsRequest, Empty),
  createIngress: ioInfo('CreateIngress', livekit.IngressInfo, CreateIngressResponse),
  getIngressInfo: ioInfo('GetIngressInfo', GetIngressInfoRequest, GetIngressInfoResponse),
  updateIngressState: ioInfo('UpdateIngressState', UpdateIngressStateRequest, Empty),
};
