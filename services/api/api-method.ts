import type { Message } from '@bufbuild/protobuf';
import type { TokenClaims } from '../model/grants.ts';
import { decodeTwirp, encodeTwirp, type TwirpEncoding, type TwirpMethod } from '../protocol/twirp.ts';
import { requireGrant, type RequiredGrant } from './grant-check.ts';

/** One row of an API table: what comes in, what goes out, which grant it takes, who does it. */
export type ApiMethod<Req extends Message<Req>, Res extends Message<Res>> = TwirpMethod<Req, Res> & {
  grant: RequiredGrant;
  /** The room the request is about; needed for roomAdmin. */
  room?: (request: Req) => string;
  handle: (request: Req) => Promise<Res>;
};

/** An ApiMethod with its message types closed over, so that one map can hold all of them. */
export type ApiRoute = {
  service: string;
  method: string;
  grant: RequiredGrant;
  call(claims: TokenClaims, encoding: TwirpEncoding, body: Uint8Array): Promise<Uint8Array | string>;
};

export function route<Req extends Message<Req>, Res extends Message<Res>>(
  definition: ApiMethod<Req, Res>,
): ApiRoute {
  return {
    service: definition.service,
    method: definition.method,
    grant: definition.grant,
    async call(claims, encoding, body) {
      if (definition.grant !== 'roomAdmin') {
        requireGrant(claims.video, definition.grant, undefined);
      }
      const request = decodeTwirp(definition.request, encoding, body);
      if (definition.grant === 'roomAdmin') {
        requireGrant(claims.video, definition.grant, definition.room?.(request));
      }
      return encodeTwirp(encoding, await definition.handle(request));
    },
  };
}
