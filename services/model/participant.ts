import { grantAllows, type VideoGrant } from './grants.ts';
import type { TrackSource } from './track.ts';

/** A token's `kind`; what it does not know counts as a standard participant. */
export type ParticipantKind = 'standard' | 'ingress' | 'egress' | 'sip' | 'agent';
const KINDS: ReadonlySet<string> = new Set(['standard', 'ingress', 'egress', 'sip', 'agent']);

export function participantKind(kind: string): ParticipantKind {
  const lower = kind.toLowerCase();
  return KINDS.has(lower) ? (lower as ParticipantKind) : 'standard';
}

/** joining: admitted; joined: knows the room; active: media connected; disconnected: gone for good. */
export type ParticipantState = 'joining' | 'joined' | 'active' | 'disconnected';

/** What a participant may do in its room, every right spelled out. */
export type ParticipantPermissions = {
  canSubscribe: boolean;
  canPublish: boolean;
  canPublishData: boolean;
  /** Empty: every source. */
  canPublishSources: readonly TrackSource[];
  canUpdateMetadata: boolean;
  hidden: boolean;
  recorder: boolean;
  agent: boolean;
};

const SOURCES: ReadonlySet<string> = new Set([
  'unknown',
  'camera',
  'microphone',
  'screen_share',
  'screen_share_audio',
]);

export function permissionsFromGrant(grant: VideoGrant): ParticipantPermissions {
  return {
    canSubscribe: grantAllows(grant, 'canSubscribe'),
    canPublish: grantAllows(grant, 'canPublish'),
    canPublishData: grantAllows(grant, 'canPublishData'),
    canPublishSources: (grant.canPublishSources ?? [])
      .map((source) => source.toLowerCase())
      .filter((source): source is TrackSource => SOURCES.has(source)),
    canUpdateMetadata: grant.canUpdateOwnMetadata ?? false,
    hidden: grant.hidden ?? false,
    recorder: grant.recorder ?? false,
    agent: grant.agent ?? false,
  };
}

export function mayPublishSource(permissions: ParticipantPermissions, source: TrackSource): boolean {
  return (
    permissions.canPublish &&
    (permissions.canPublishSources.length === 0 || permissions.canPublishSources.includes(source))
  );
}

/** Recorders, egress and agents serve the others: alone they do not keep a room open. */
export function isDependent(kind: ParticipantKind, permissions: ParticipantPermissions): boolean {
  return kind === 'egress' || kind === 'agent' || permissions.recorder || permissions.agent;
}

/** LiveKit's default limits, in characters and UTF-8 bytes. */
export const PARTICIPANT_LIMITS = {
  maxIdentityLength: 256,
  maxNameLength: 256,
  maxMetadataBytes: 64 * 1024,
  maxAttributesBytes: 64 * 1024,
  maxPublishedTracks: 64,
} as const;

/** Why metadata, name or attributes cannot be taken; undefined = fine. */
export function participantTextProblem(text: {
  name?: string;
  metadata?: string;
  attributes?: Readonly<Record<string, string>>;
}): string | undefined {
  if ((text.name ?? '').length > PARTICIPANT_LIMITS.maxNameLength) {
    return 'name exceeds limits, max length: 256';
  }
  if (Buffer.byteLength(text.metadata ?? '') > PARTICIPANT_LIMITS.maxMetadataBytes) {
    return 'metadata size exceeds limits, max size: 65536';
  }
  if (attributesBytes(text.attributes ?? {}) > PARTICIPANT_LIMITS.maxAttributesBytes) {
    return 'attributes size exceeds limits, max size: 65536';
  }
  return undefined;
}

function attributesBytes(attributes: Readonly<Record<string, string>>): number {
  return Object.entries(attributes).reduce(
    (sum, [key, value]) => sum + Buffer.byteLength(key) + Buffer.byteLength(value),
    0,
  );
}

/** Attributes after an update: an empty value deletes the key. */
export function mergeAttributes(
  current: Readonly<Record<string, string>>,
  update: Readonly<Record<string, string>>,
): Record<string, string> {
  return Object.fromEntries(Object.entries({ ...current, ...update }).filter(([, value]) => value !== ''));
}
