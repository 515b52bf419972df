import * as livekit from '@livekit/protocol';
import type { Bus } from '../bus/bus.ts';
import type { EgressStore } from '../bus/egress-store.ts';
import type { IngressStore } from '../bus/ingress-store.ts';
import { RoomInternal } from '../bus/rpc-methods.ts';
import type { RequiredGrant } from './grant-check.ts';
import { redactEgress } from '../protocol/redact-egress.ts';

/** Whoever may do all of this anyway may see everything at once. */
export const OPERATOR_GRANTS: readonly RequiredGrant[] = [
  'roomList',
  'roomCreate',
  'roomRecord',
  'ingressAdmin',
];

const MAX_ROOMS = 200;
const MAX_EGRESS = 100;
const JSON_OPTIONS = { emitDefaultValues: true, useProtoFieldName: true } as const;

/** Everything the first page shows, in the JSON form of LiveKit's messages (participants without metadata). */
export async function overview(options: {
  bus: Bus;
  egressStore: EgressStore;
  ingressStore: IngressStore;
}): Promise<object> {
  const { bus, egressStore, ingressStore } = options;
  const { rooms } = await bus
    .request(RoomInternal.listRooms, {})
    .catch(() => new livekit.ListRoomsResponse());
  const [withParticipants, egress, ingress] = await Promise.all([
    Promise.all(rooms.slice(0, MAX_ROOMS).map((room) => roomWithParticipants(bus, room))),
    egressStore.list({}),
    ingressStore.list(),
  ]);
  return {
    rooms: withParticipants,
    egress: egress.slice(0, MAX_EGRESS).map((info) => redactEgress(info).toJson(JSON_OPTIONS)),
    ingress: ingress.map((info) => info.toJson(JSON_OPTIONS)),
  };
}

async function roomWithParticipants(bus: Bus, room: livekit.Room): Promise<object> {
  // The room may end between the two calls; it is then shown empty once.
  const { participants } = await bus
    .request(RoomInternal.listParticipants, { room: room.name })
    .catch(() => new livekit.ListParticipantsResponse());
  return {
    sid: room.sid,
    name: room.name,
    creation_time: String(room.creationTime),
    active_recording: room.activeRecording,
    participants: participants.map((participant) => ({
      sid: participant.sid,
      identity: participant.identity,
      name: participant.name,
      kind: livekit.ParticipantInfo_Kind[participant.kind],
      hidden: participant.permission?.hidden ?? false,
      tracks: participant.tracks.map((track) => ({
        sid: track.sid,
        type: livekit.TrackType[track.type],
        source: livekit.TrackSource[track.source],
        mime_type: track.mimeType,
        width: track.width,
        height: track.height,
        muted: track.muted,
      })),
    })),
  };
}
