import type { Message, MessageType, PartialMessage } from '@bufbuild/protobuf';
import { messageOf, ServiceError, type ErrorCode } from '../base/errors.ts';
import { mintToken } from '../protocol/token.ts';
import { TWIRP_CONTENT_TYPE, TWIRP_PREFIX, type TwirpErrorBody } from '../protocol/twirp.ts';
import type { VideoGrant } from '../model/grants.ts';

const TIMEOUT_MS = 40_000;

/** Where a LiveKit-compatible server is, and the key pair to call it with. */
export type ServerAccess = { url: string; apiKey: string; apiSecret: string };

/** Calls the API of a running server, ours or LiveKit's, the way any client does. */
export class TwirpClient {
  readonly #access: ServerAccess;

  constructor(access: ServerAccess) {
    this.#access = access;
  }

  /** @throws ServiceError with the server's code and text; unavailable when nothing answers. */
  async call<Req extends Message<Req>, Res extends Message<Res>>(
    path: string,
    grant: VideoGrant,
    request: [type: MessageType<Req>, fields: PartialMessage<Req>],
    response: MessageType<Res>,
  ): Promise<Res> {
    const { url, apiKey, apiSecret } = this.#access;
    const token = await mintToken(apiKey, apiSecret, { identity: 'sluice-cli', video: grant, ttlS: 60 });
    const [type, fields] = request;
    let answer: Response;
    try {
      answer = await fetch(`${url.replace(/^ws/, 'http')}${TWIRP_PREFIX}livekit.${path}`, {
        method: 'POST',
        headers: { 'content-type': TWIRP_CONTENT_TYPE.protobuf, authorization: `Bearer ${token}` },
        body: Buffer.from(new type(fields).toBinary()),
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
    } catch (error) {
      throw new ServiceError(
        'unavailable',
        `no server answers at ${url}: is it running? (${messageOf(error)})`,
        {
          cause: error,
        },
      );
    }
    const body = new Uint8Array(await answer.arrayBuffer());
    if (answer.ok) {
      return response.fromBinary(body);
    }
    throw errorOf(answer.status, Buffer.from(body).toString('utf8'));
  }
}

function errorOf(status: number, text: string): ServiceError {
  try {
    const { code, msg } = JSON.parse(text) as TwirpErrorBody;
    return new ServiceError(code, msg);
  } catch {
    const code: ErrorCode = status === 401 ? 'unauthenticated' : 'internal';
    return new ServiceError(code, `the server answered ${status}: ${text.slice(0, 200)}`);
  }
}
