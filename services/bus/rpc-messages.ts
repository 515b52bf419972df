import { Empty, ScalarType, type Message } from '@bufbuild/protobuf';
import * as livekit from '@livekit/protocol';
import { choice, message, nested, nestedList, scalar, text, textMap, texts } from './message-fields.ts';

/**
 * The `rpc.*` messages LiveKit's servers and workers exchange over psrpc. npm's @livekit/protocol leaves them
 * out, so they are described here and, for protoc, in proto/rpc-*.proto; a test holds both to the same bytes.
 */
export type RpcStartEgressRequest = Message<RpcStartEgressRequest> & {
  egressId: string;
  request:
    | { case: 'egress'; value: livekit.StartEgressRequest }
    | { case: 'replay'; value: livekit.ExportReplayRequest }
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
  cloudBackupEnabled: boolean;
  estimatedCpu: number;
  retryCount: number;
};

export const RpcStartEgressRequest = message<RpcStartEgressRequest>('rpc.StartEgressRequest', () => [
  text(1, 'egress_id'),
  choice('request', 16, 'egress', livekit.StartEgressRequest),
  choice('request', 17, 'replay', livekit.ExportReplayRequest),
  choice('request', 5, 'room_composite', livekit.RoomCompositeEgressRequest),
  choice('request', 11, 'web', livekit.WebEgressRequest),
  choice('request', 13, 'participant', livekit.ParticipantEgressRequest),
  choice('request', 6, 'track_composite', livekit.TrackCompositeEgressRequest),
  choice('request', 7, 'track', livekit.TrackEgressRequest),
  text(3, 'room_id'),
  text(18, 'room_name'),
  text(8, 'token'),
  text(9, 'ws_url'),
  scalar(10, 'cloud_backup_enabled', ScalarType.BOOL),
  scalar(14, 'estimated_cpu', ScalarType.DOUBLE),
  scalar(15, 'retry_count', ScalarType.INT32),
]);

export type ListActiveEgressRequest = Message<ListActiveEgressRequest>;
export const ListActiveEgressRequest = message<ListActiveEgressRequest>(
  'rpc.ListActiveEgressRequest',
  () => [],
);

export type ListActiveEgressResponse = Message<ListActiveEgressResponse> & { egressIds: string[] };
export const ListActiveEgressResponse = message<ListActiveEgressResponse>(
  'rpc.ListActiveEgressResponse',
  () => [texts(1, 'egress_ids')],
);

export type GetEgressRequest = Message<GetEgressRequest> & { egressId: string };
export const GetEgressRequest = message<GetEgressRequest>('rpc.GetEgressRequest', () => [
  text(1, 'egress_id'),
]);

export type UpdateMetricsRequest = Message<UpdateMetricsRequest> & {
  info?: livekit.EgressInfo;
  avgCpuUsage: number;
  maxCpuUsage: number;
};
export const UpdateMetricsRequest = message<UpdateMetricsRequest>('rpc.UpdateMetricsRequest', () => [
  nested(1, 'info', livekit.EgressInfo),
  scalar(3, 'avg_cpu_usage', ScalarType.FLOAT),
  scalar(4, 'max_cpu_usage', ScalarType.FLOAT),
]);

export type CreateIngressResponse = Message<CreateIngressResponse> & { info?: livekit.IngressInfo };
export const CreateIngressResponse = message<CreateIngressResponse>('rpc.CreateIngressResponse', () => [
  nested(1, 'info', livekit.IngressInfo),
]);

export type GetIngressInfoRequest = Message<GetIngressInfoRequest> & { ingressId: string; streamKey: string };
export const GetIngressInfoRequest = message<GetIngressInfoRequest>('rpc.GetIngressInfoRequest', () => [
  text(1, 'ingress_id'),
  text(2, 'stream_key'),
]);

export type GetIngressInfoResponse = Message<GetIngressInfoResponse> & {
  info?: livekit.IngressInfo;
  token: string;
  wsUrl: string;
  projectId: string;
  loggingFields: Record<string, string>;
  featureFlags: Record<string, string>;
};
export const GetIngressInfoResponse = message<GetIngressInfoResponse>('rpc.GetIngressInfoResponse', () => [
  nested(1, 'info', livekit.IngressInfo),
  text(2, 'token'),
  text(3, 'ws_url'),
  text(6, 'project_id'),
  textMap(4, 'logging_fields'),
  textMap(5, 'feature_flags'),
]);

export type UpdateIngressStateRequest = Message<UpdateIngressStateRequest> & {
  ingressId: string;
  state?: livekit.IngressState;
};
export const UpdateIngressStateRequest = message<UpdateIngressStateRequest>(
  'rpc.UpdateIngressStateRequest',
  () => [text(1, 'ingress_id'), nested(2, 'state', livekit.IngressState)],
);

export type StartIngressRequest = Message<StartIngressRequest> & {
  info?: livekit.IngressInfo;
  token: string;
  wsUrl: string;
  loggingFields: Record<string, string>;
  featureFlags: Record<string, string>;
};
export const StartIngressRequest = message<StartIngressRequest>('rpc.StartIngressRequest', () => [
  nested(1, 'info', livekit.IngressInfo),
  text(2, 'token'),
  text(3, 'ws_url'),
  textMap(4, 'logging_fields'),
  textMap(5, 'feature_flags'),
]);

export type ListActiveIngressRequest = Message<ListActiveIngressRequest>;
export const ListActiveIngressRequest = message<ListActiveIngressRequest>(
  'rpc.ListActiveIngressRequest',
  () => [],
);

export type IngressSession = Message<IngressSession> & { ingressId: string; resourceId: string };
export const IngressSession = message<IngressSession>('rpc.IngressSession', () => [
  text(1, 'ingress_id'),
  text(2, 'resource_id'),
]);

export type ListActiveIngressResponse = Message<ListActiveIngressResponse> & {
  /** Older servers read this one. */
  ingressIds: string[];
  ingressSessions: IngressSession[];
};
export const ListActiveIngressResponse = message<ListActiveIngressResponse>(
  'rpc.ListActiveIngressResponse',
  () => [texts(1, 'ingress_ids'), nestedList(2, 'ingress_sessions', IngressSession)],
);

export type DeleteWHIPResourceRequest = Message<DeleteWHIPResourceRequest> & {
  resourceId: string;
  streamKey: string;
};
export const DeleteWHIPResourceRequest = message<DeleteWHIPResourceRequest>(
  'rpc.DeleteWHIPResourceRequest',
  () => [text(1, 'resource_id'), text(2, 'stream_key')],
);

export type ICERestartWHIPResourceRequest = Message<ICERestartWHIPResourceRequest> & {
  resourceId: string;
  streamKey: string;
  userFragment: string;
  password: string;
  candidates: string[];
  rawTrickleIceSdpfrag: string;
  ifMatch: string;
};
export const ICERestartWHIPResourceRequest = message<ICERestartWHIPResourceRequest>(
  'rpc.ICERestartWHIPResourceRequest',
  () => [
    text(1, 'resource_id'),
    text(2, 'stream_key'),
    text(3, 'user_fragment'),
    text(4, 'password'),
    texts(5, 'candidates'),
    text(6, 'raw_trickle_ice_sdpfrag'),
    text(7, 'if_match'),
  ],
);

export type ICERestartWHIPResourceResponse = Message<ICERestartWHIPResourceResponse> & {
  trickleIceSdpfrag: string;
  etag: string;
};
export const ICERestartWHIPResourceResponse = message<ICERestartWHIPResourceResponse>(
  'rpc.ICERestartWHIPResourceResponse',
  () => [text(1, 'trickle_ice_sdpfrag'), text(2, 'etag')],
);

export type WHIPRTCConnectionNotifyRequest = Message<WHIPRTCConnectionNotifyRequest> & {
  participantId: string;
  closed: boolean;
  video?: livekit.InputVideoState;
  audio?: livekit.InputAudioState;
  /** From here on ours; LiveKit's servers leave them out and skip them. */
  roomId: string;
  /** The room has the tracks and media has arrived. */
  publishing: boolean;
  /** Media has arrived before and does not now. */
  silent: boolean;
  /** With closed: why, when the encoder did not end by itself. */
  error: string;
};
export const WHIPRTCConnectionNotifyRequest = message<WHIPRTCConnectionNotifyRequest>(
  'rpc.WHIPRTCConnectionNotifyRequest',
  () => [
    text(1, 'participant_id'),
    scalar(2, 'closed', ScalarType.BOOL),
    nested(3, 'video', livekit.InputVideoState),
    nested(4, 'audio', livekit.InputAudioState),
    text(100, 'room_id'),
    scalar(101, 'publishing', ScalarType.BOOL),
    scalar(102, 'silent', ScalarType.BOOL),
    text(103, 'error'),
  ],
);

export { Empty };
