import { Empty, proto3, ScalarType, type Message, type MessageType } from '@bufbuild/protobuf';
import * as livekit from '@livekit/protocol';

/**
 * The `rpc.*` messages LiveKit's servers and workers exchange over psrpc. npm's @livekit/protocol leaves them
 * out, so they are described here field by field (protobufs/rpc/{egress,ingress,io}.proto).
 */
export type RpcStartEgressRequest = Message<RpcStartEgressRequest> & {
  egressId: string;
  request:
    | { case: 'egress'; value: livekit.StartEgressRequest }
    | { case: 'roomComposite'; value: livekit.RoomCompositeEgressRequest }
    | { case: 'web'; value: livekit.WebEgressRequest }
    | { case: 'participant'; value: livekit.ParticipantEgressRequest }
    | { case: 'trackComposite'; value: livekit.TrackCompositeEgressRequest }
    | { case: 'track'; value: livekit.TrackEgressRequest }
    | { case: undefined; value?: undefined };
  roomId: string;
  roomName: string;
  token: string;
  wsUrl: string;
};

const STRING = ScalarType.STRING;

function message<T extends Message<T>>(
  typeName: string,
  fields: Parameters<typeof proto3.makeMessageType>[1],
): MessageType<T> {
  return proto3.makeMessageType(typeName, fields) as unknown as MessageType<T>;
}

export const RpcStartEgressRequest = message<RpcStartEgressRequest>('rpc.StartEgressRequest', () => [
  { no: 1, name: 'egress_id', kind: 'scalar', T: STRING },
  { no: 16, name: 'egress', kind: 'message', T: livekit.StartEgressRequest, oneof: 'request' },
  { no: 5, name: 'room_composite', kind: 'message', T: livekit.RoomCompositeEgressRequest, oneof: 'request' },
  { no: 11, name: 'web', kind: 'message', T: livekit.WebEgressRequest, oneof: 'request' },
  { no: 13, name: 'participant', kind: 'message', T: livekit.ParticipantEgressRequest, oneof: 'request' },
  {
    no: 6,
    name: 'track_composite',
    kind: 'message',
    T: livekit.TrackCompositeEgressRequest,
    oneof: 'request',
  },
  { no: 7, name: 'track', kind: 'message', T: livekit.TrackEgressRequest, oneof: 'request' },
  { no: 3, name: 'room_id', kind: 'scalar', T: STRING },
  { no: 18, name: 'room_name', kind: 'scalar', T: STRING },
  { no: 8, name: 'token', kind: 'scalar', T: STRING },
  { no: 9, name: 'ws_url', kind: 'scalar', T: STRING },
]);

export type GetEgressRequest = Message<GetEgressRequest> & { egressId: string };
export const GetEgressRequest = message<GetEgressRequest>('rpc.GetEgressRequest', () => [
  { no: 1, name: 'egress_id', kind: 'scalar', T: STRING },
]);

export type GetIngressInfoRequest = Message<GetIngressInfoRequest> & { ingressId: string; streamKey: string };
export const GetIngressInfoRequest = message<GetIngressInfoRequest>('rpc.GetIngressInfoRequest', () => [
  { no: 1, name: 'ingress_id', kind: 'scalar', T: STRING },
  { no: 2, name: 'stream_key', kind: 'scalar', T: STRING },
]);

export type GetIngressInfoResponse = Message<GetIngressInfoResponse> & {
  info?: livekit.IngressInfo;
  token: string;
  wsUrl: string;
};
export const GetIngressInfoResponse = message<GetIngressInfoResponse>('rpc.GetIngressInfoResponse', () => [
  { no: 1, name: 'info', kind: 'message', T: livekit.IngressInfo },
  { no: 2, name: 'token', kind: 'scalar', T: STRING },
  { no: 3, name: 'ws_url', kind: 'scalar', T: STRING },
]);

export type UpdateIngressStateRequest = Message<UpdateIngressStateRequest> & {
  ingressId: string;
  state?: livekit.IngressState;
};
export const UpdateIngressStateRequest = message<UpdateIngressStateRequest>(
  'rpc.UpdateIngressStateRequest',
  () => [
    { no: 1, name: 'ingress_id', kind: 'scalar', T: STRING },
    { no: 2, name: 'state', kind: 'message', T: livekit.IngressState },
  ],
);

export { Empty };
