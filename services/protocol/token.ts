import { SignJWT, jwtVerify, decodeJwt } from 'jose';
import { ServiceError } from '../base/errors.ts';
import type { VideoGrant, TokenClaims } from '../model/grants.ts';

/** API key → secret, as in LiveKit's `keys:` config. */
export type ApiKeys = ReadonlyMap<string, string>;

const encoder = new TextEncoder();

/**
 * Verifies a LiveKit access token (HS256 JWT, `iss` = API key, `sub` = identity, grants in `video`).
 * @throws ServiceError unauthenticated – the message never repeats the token.
 */
export async function verifyToken(token: string, keys: ApiKeys): Promise<TokenClaims> {
  if (token === '') {
    throw new ServiceError('unauthenticated', 'no access token: send it as "Authorization: Bearer <jwt>"');
  }
  let issuer: string | undefined;
  try {
    issuer = decodeJwt(token).iss;
  } catch (error) {
    throw new ServiceError('unauthenticated', 'invalid token: not a JWT', { cause: error });
  }
  const secret = issuer === undefined ? undefined : keys.get(issuer);
  if (secret === undefined) {
    throw new ServiceError(
      'unauthenticated',
      'invalid API key: the token issuer is not configured in "keys"',
    );
  }
  try {
    const { payload } = await jwtVerify(token, encoder.encode(secret), {
      algorithms: ['HS256'],
      clockTolerance: 10,
    });
    const claims = payload as Record<string, unknown>;
    return {
      identity: payload.sub ?? '',
      name: stringOr(claims['name']),
      metadata: stringOr(claims['metadata']),
      kind: stringOr(claims['kind']),
      attributes: (claims['attributes'] as Record<string, string> | undefined) ?? {},
      video: (claims['video'] as VideoGrant | undefined) ?? {},
      ...(typeof claims['sha256'] === 'string' ? { sha256: claims['sha256'] } : {}),
      expiresAtS: payload.exp ?? 0,
    };
  } catch (error) {
    throw new ServiceError('unauthenticated', 'invalid token: signature or expiry check failed', {
      cause: error,
    });
  }
}

export type MintOptions = {
  identity?: string;
  name?: string;
  metadata?: string;
  /** LiveKit's participant kind in lower case: standard, ingress, egress, sip, agent. */
  kind?: string;
  attributes?: Record<string, string>;
  video?: VideoGrant;
  sha256?: string;
  ttlS?: number;
};

/** Mints a token that LiveKit's own SDKs verify. */
export async function mintToken(apiKey: string, secret: string, options: MintOptions): Promise<string> {
  const { identity, ttlS = 6 * 3600, ...claims } = options;
  const nowS = Math.floor(Date.now() / 1000);
  const jwt = new SignJWT(claims)
    .setProtectedHeader({ alg: 'HS256', typ: 'JWT' })
    .setIssuer(apiKey)
    .setNotBefore(nowS - 5)
    .setExpirationTime(nowS + ttlS);
  if (identity !== undefined) {
    jwt.setSubject(identity).setJti(identity);
  }
  return jwt.sign(encoder.encode(secret));
}

function stringOr(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
