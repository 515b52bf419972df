import { ClientInfo, ParticipantInfo, type DisconnectReason, type JoinRequest } from '@livekit/protocol';
import type { TokenClaims } from '../model/grants.ts';
import {
  mergeAttributes,
  participantKind,
  permissionsFromGrant,
  type ParticipantKind,
  type ParticipantPermissions,
} from '../model/participant.ts';
import type { ParticipantSession } from './participant-session.ts';
import { KIND_TO_WIRE, permissionsToWire, STATE_TO_WIRE } from './wire-convert.ts';

/** A verified token together with what the client asked for when it joined. */
export type Admission = {
  claims: TokenClaims;
  join: JoinRequest;
  /** MEDIA_BATCH of protocol/signal.ts; 0 or nothing = media at once. */
  batchMs?: number;
  /** A peer without a signalling connection. */
  closeNotify?: boolean;
};

export type ParticipantProfile = {
  identity: string;
  kind: ParticipantKind;
  name: string;
  metadata: string;
  attributes: Record<string, string>;
  permissions: ParticipantPermissions;
  clientInfo: ClientInfo;
};

/** Who joins. The client's own metadata and attributes count only when its token lets it set them. */
export function profileOf({ claims, join }: Admission): ParticipantProfile {
  const permissions = permissionsFromGrant(claims.video);
  const own = permissions.canUpdateMetadata;
  return {
    identity: claims.identity,
    kind: participantKind(claims.kind),
    name: claims.name,
    metadata: own && join.metadata !== '' ? join.metadata : claims.metadata,
    attributes: mergeAttributes(claims.attributes, own ? join.participantAttributes : {}),
    permissions,
    clientInfo: join.clientInfo ?? new ClientInfo(),
  };
}

export function participantInfo(
  participant: ParticipantSession,
  state: { version: number; disconnectReason: DisconnectReason },
): ParticipantInfo {
  const tracks = participant.publishing.infos();
  return new ParticipantInfo({
    sid: participant.sid,
    identity: participant.identity,
    name: participant.name,
    state: STATE_TO_WIRE[participant.state],
    tracks,
    metadata: participant.metadata,
    attributes: participant.attributes,
    joinedAt: BigInt(Math.floor(participant.joinedAtMs / 1000)),
    joinedAtMs: BigInt(participant.joinedAtMs),
    version: state.version,
    permission: permissionsToWire(participant.permissions),
    isPublisher: tracks.length > 0,
    kind: KIND_TO_WIRE[participant.kind],
    disconnectReason: state.disconnectReason,
    clientProtocol: participant.clientInfo.clientProtocol,
    capabilities: participant.clientInfo.capabilities,
  });
}
