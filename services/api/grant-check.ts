import { ServiceError } from '../base/errors.ts';
import type { TokenClaims, VideoGrant } from '../model/grants.ts';
import { verifyToken, type ApiKeys } from '../protocol/token.ts';

/** The right a method asks for; roomAdmin counts for the room named in the token only. */
export type RequiredGrant = 'roomCreate' | 'roomList' | 'roomAdmin' | 'roomRecord' | 'ingressAdmin';

const BEARER = 'Bearer ';

/**
 * Reads and verifies the token of an API request. @throws ServiceError unauthenticated; LiveKit's text for a
 * request without a token is the one for missing permissions.
 */
export async function authenticate(authorization: string | undefined, keys: ApiKeys): Promise<TokenClaims> {
  if (authorization === undefined || authorization === '') {
    throw new ServiceError('unauthenticated', 'permissions denied');
  }
  if (!authorization.startsWith(BEARER)) {
    throw new ServiceError('unauthenticated', 'invalid authorization header. Must start with Bearer ');
  }
  return verifyToken(authorization.slice(BEARER.length), keys);
}

/** @throws ServiceError unauthenticated "permissions denied", LiveKit's answer to a missing grant. */
export function requireGrant(video: VideoGrant, grant: RequiredGrant, room: string | undefined): void {
  const allowed = video[grant] === true && (grant !== 'roomAdmin' || (video.room ?? '') === (room ?? ''));
  if (!allowed) {
    throw new ServiceError('unauthenticated', 'permissions denied');
  }
}
