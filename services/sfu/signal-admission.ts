import type { IncomingMessage } from 'node:http';
import { ServiceError } from '../base/errors.ts';
import type { TokenClaims } from '../model/grants.ts';
import { PARTICIPANT_LIMITS } from '../model/participant.ts';
import { ROOM_LIMITS } from '../model/room.ts';
import { decodeJoinRequest, MEDIA_BATCH } from '../protocol/signal.ts';
import { verifyToken, type ApiKeys } from '../protocol/token.ts';
import type { Admission } from './participant-info.ts';

/** A client that may join, and where. */
export type JoinTicket = { roomName: string; admission: Admission };

/** Signal endpoints. `/rtc` (two peer connections) is not offered: clients fall back from it, not to it. */
export const SIGNAL_PATHS = { connect: '/rtc/v1', validate: ['/rtc/v1/validate', '/rtc/validate'] } as const;

/** Path and query of a request line; undefined when it is not a URL. */
export function requestUrl(req: IncomingMessage): URL | undefined {
  try {
    return new URL(req.url ?? '', 'http://localhost');
  } catch {
    return undefined;
  }
}

function tokenOf(req: IncomingMessage, url: URL): string {
  const header = req.headers.authorization ?? '';
  return header.startsWith('Bearer ')
    ? header.slice('Bearer '.length).trim()
    : (url.searchParams.get('access_token') ?? '');
}

/**
 * Verifies that the bearer of the token may join a room. Nothing of the join request is read before that.
 * @throws ServiceError unauthenticated | invalid_argument with LiveKit's texts.
 */
export async function admitClient(req: IncomingMessage, url: URL, keys: ApiKeys): Promise<JoinTicket> {
  const { roomName, claims } = await admitBearer(req, url, keys);
  const join = decodeJoinRequest(url.searchParams.get('join_request') ?? '');
  return { roomName, admission: { claims, join, batchMs: batchMsOf(url) } };
}

/** The same for a client without a join request. */
export async function admitBearer(
  req: IncomingMessage,
  url: URL,
  keys: ApiKeys,
): Promise<{ roomName: string; claims: TokenClaims }> {
  const claims = await verifyToken(tokenOf(req, url), keys);
  return { roomName: roomOf(claims, url), claims };
}

function batchMsOf(url: URL): number {
  const text = url.searchParams.get(MEDIA_BATCH.param) ?? '0';
  const batchMs = text.trim() === '' ? Number.NaN : Number(text);
  if (!Number.isFinite(batchMs)) {
    throw new ServiceError('invalid_argument', `${MEDIA_BATCH.param} must be a number of milliseconds`);
  }
  return Math.min(MEDIA_BATCH.maxMs, Math.max(0, batchMs));
}

function roomOf(claims: TokenClaims, url: URL): string {
  if (claims.video.roomJoin !== true) {
    throw new ServiceError('unauthenticated', 'permissions denied: the token has no roomJoin grant');
  }
  if (claims.identity === '') {
    throw new ServiceError('invalid_argument', 'identity cannot be empty');
  }
  if (claims.identity.length > PARTICIPANT_LIMITS.maxIdentityLength) {
    const limit = PARTICIPANT_LIMITS.maxIdentityLength;
    throw new ServiceError(
      'invalid_argument',
      `participant identity length exceeds limits: max length ${limit}`,
    );
  }
  const granted = claims.video.room ?? '';
  const roomName = granted === '' ? (url.searchParams.get('room') ?? '') : granted;
  if (roomName === '') {
    throw new ServiceError('invalid_argument', 'no room name');
  }
  if (roomName.length > ROOM_LIMITS.maxNameLength) {
    throw new ServiceError(
      'invalid_argument',
      `room name length exceeds limits: max length ${ROOM_LIMITS.maxNameLength}`,
    );
  }
  return roomName;
}
