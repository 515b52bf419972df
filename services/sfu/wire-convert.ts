/* eslint-disable @typescript-eslint/no-deprecated -- clients in the field still read and write these fields */
import {
  ParticipantInfo_Kind,
  ParticipantInfo_State,
  ParticipantPermission,
  TrackSource as WireSource,
} from '@livekit/protocol';
import type { VideoGrant } from '../model/grants.ts';
import type { ParticipantKind, ParticipantPermissions, ParticipantState } from '../model/participant.ts';
import type { TrackSource } from '../model/track.ts';

/** Model values ↔ LiveKit's protobuf enumerations, as tables. */
const SOURCES: readonly (readonly [TrackSource, WireSource])[] = [
  ['unknown', WireSource.UNKNOWN],
  ['camera', WireSource.CAMERA],
  ['microphone', WireSource.MICROPHONE],
  ['screen_share', WireSource.SCREEN_SHARE],
  ['screen_share_audio', WireSource.SCREEN_SHARE_AUDIO],
];
const SOURCE_TO_WIRE = new Map(SOURCES);
const SOURCE_FROM_WIRE = new Map(SOURCES.map(([source, wire]) => [wire, source]));

export const KIND_TO_WIRE: Readonly<Record<ParticipantKind, ParticipantInfo_Kind>> = {
  standard: ParticipantInfo_Kind.STANDARD,
  ingress: ParticipantInfo_Kind.INGRESS,
  egress: ParticipantInfo_Kind.EGRESS,
  sip: ParticipantInfo_Kind.SIP,
  agent: ParticipantInfo_Kind.AGENT,
};

export const STATE_TO_WIRE: Readonly<Record<ParticipantState, ParticipantInfo_State>> = {
  joining: ParticipantInfo_State.JOINING,
  joined: ParticipantInfo_State.JOINED,
  active: ParticipantInfo_State.ACTIVE,
  disconnected: ParticipantInfo_State.DISCONNECTED,
};

export function sourceFromWire(source: WireSource): TrackSource {
  return SOURCE_FROM_WIRE.get(source) ?? 'unknown';
}

export function sourceToWire(source: TrackSource): WireSource {
  return SOURCE_TO_WIRE.get(source) ?? WireSource.UNKNOWN;
}

export function permissionsToWire(permissions: ParticipantPermissions): ParticipantPermission {
  return new ParticipantPermission({
    canSubscribe: permissions.canSubscribe,
    canPublish: permissions.canPublish,
    canPublishData: permissions.canPublishData,
    canPublishSources: permissions.canPublishSources.map(sourceToWire),
    canUpdateMetadata: permissions.canUpdateMetadata,
    hidden: permissions.hidden,
    recorder: permissions.recorder,
    agent: permissions.agent,
  });
}

export function permissionsFromWire(wire: ParticipantPermission): ParticipantPermissions {
  return {
    canSubscribe: wire.canSubscribe,
    canPublish: wire.canPublish,
    canPublishData: wire.canPublishData,
    canPublishSources: wire.canPublishSources.map(sourceFromWire),
    canUpdateMetadata: wire.canUpdateMetadata,
    hidden: wire.hidden,
    recorder: wire.recorder,
    agent: wire.agent,
  };
}

/** The grant a refreshed token carries: what the participant may do now. */
export function grantFromPermissions(room: string, permissions: ParticipantPermissions): VideoGrant {
  return {
    roomJoin: true,
    room,
    canPublish: permissions.canPublish,
    canSubscribe: permissions.canSubscribe,
    canPublishData: permissions.canPublishData,
    canPublishSources: [...permissions.canPublishSources],
    canUpdateOwnMetadata: permissions.canUpdateMetadata,
    hidden: permissions.hidden,
    recorder: permissions.recorder,
    agent: permissions.agent,
  };
}
