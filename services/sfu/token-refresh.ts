import { mintToken, type ApiKeys } from '../protocol/token.ts';
import type { ParticipantSession } from './participant-session.ts';
import { grantFromPermissions } from './wire-convert.ts';

/** LiveKit's values: short-lived tokens, renewed long before they end. */
export const TOKEN_REFRESH = { intervalMs: 5 * 60_000, ttlS: 10 * 60 } as const;

export type IssueToken = (participant: ParticipantSession) => Promise<string>;

/** Tokens for clients that are in a room, saying what they may do now, so that they can always reconnect. */
export function tokenIssuer(keys: ApiKeys): IssueToken {
  const [first] = keys;
  return (participant) => {
    if (first === undefined) {
      return Promise.reject(new Error('no API key configured'));
    }
    const [apiKey, secret] = first;
    return mintToken(apiKey, secret, {
      identity: participant.identity,
      name: participant.name,
      metadata: participant.metadata,
      kind: participant.kind,
      attributes: participant.attributes,
      video: grantFromPermissions(participant.room.name, participant.permissions),
      ttlS: TOKEN_REFRESH.ttlS,
    });
  };
}
