import { messageOf, ServiceError, type ErrorCode } from '../base/errors.ts';
import { mintToken, type MintOptions } from '../protocol/token.ts';
import {
  encodeTrackHints,
  INGRESS_HEADER,
  SDP_TYPE,
  SFU_WHIP_PATH,
  TRACKS_HEADER,
  type TrackHints,
} from '../protocol/whip.ts';
import type { RoomAccess } from './room-publisher.ts';
import type { WhipAnswer, WhipPatch, WhipPatchReply } from './servers/whip-types.ts';

/** OBS gives up after 8 s; it is told before. */
const REQUEST_TIMEOUT_MS = 6_000;
const MAX_ANSWER_BYTES = 256 * 1024;

/** Our error codes of statuses the room's side answers with; the status itself is handed on. */
const CODE_BY_STATUS: Readonly<Partial<Record<number, ErrorCode>>> = {
  400: 'invalid_argument',
  404: 'not_found',
  406: 'invalid_argument',
  412: 'failed_precondition',
  413: 'resource_exhausted',
  422: 'invalid_argument',
  428: 'failed_precondition',
  429: 'resource_exhausted',
  501: 'unimplemented',
};

/** The WHIP session at the SFU that carries an encoder's media. We only pass signalling on; media goes there by itself. */
export class WhipUpstream {
  readonly #access: RoomAccess;
  readonly #participant: MintOptions;
  #url = '';

  constructor(access: RoomAccess, participant: MintOptions) {
    this.#access = access;
    this.#participant = participant;
  }

  get #endpoint(): string {
    return this.#access.wsUrl.replace(/^ws/, 'http').replace(/\/+$/, '') + SFU_WHIP_PATH;
  }

  /** '' before the offer was accepted. */
  get participantId(): string {
    return this.#url.split('/').at(-1) ?? '';
  }

  /** @throws ServiceError with the status and reason of the room's side; unavailable when it cannot be reached. */
  async publish(offerSdp: string, hints: TrackHints): Promise<WhipAnswer> {
    const response = await this.#request(this.#endpoint, {
      method: 'POST',
      headers: {
        'content-type': SDP_TYPE,
        [INGRESS_HEADER]: 'true',
        [TRACKS_HEADER]: encodeTrackHints(hints),
      },
      body: offerSdp,
    });
    const sdp = await textOf(response);
    const location = response.headers.get('location') ?? '';
    if (response.status !== 201 || location === '') {
      throw refusal(response, sdp);
    }
    this.#url = new URL(location, this.#endpoint).href;
    return {
      sdp,
      etag: response.headers.get('etag') ?? '',
      links: linksOf(response),
    };
  }

  /** Link headers of the room's STUN and TURN servers. @throws ServiceError unavailable. */
  async iceServers(): Promise<readonly string[]> {
    const response = await this.#request(this.#endpoint, { method: 'OPTIONS' });
    await response.body?.cancel();
    return linksOf(response);
  }

  /** @throws ServiceError unavailable when the room's side cannot be reached. */
  async patch({ ifMatch, contentType, body }: WhipPatch): Promise<WhipPatchReply> {
    const response = await this.#request(this.#url, {
      method: 'PATCH',
      headers: { 'content-type': contentType, ...(ifMatch === undefined ? {} : { 'if-match': ifMatch }) },
      body,
    });
    return {
      status: response.status,
      contentType: response.headers.get('content-type') ?? '',
      etag: response.headers.get('etag') ?? undefined,
      body: await textOf(response),
    };
  }

  /** Ends the session, if it still runs. @throws ServiceError unavailable. */
  async end(): Promise<void> {
    if (this.#url !== '') {
      const response = await this.#request(this.#url, { method: 'DELETE' });
      await response.body?.cancel();
    }
  }

  async #request(
    url: string,
    init: { method: string; headers?: Record<string, string>; body?: string },
  ): Promise<Response> {
    const { apiKey, apiSecret } = this.#access;
    const token = await mintToken(apiKey, apiSecret, this.#participant);
    try {
      return await fetch(url, {
        ...init,
        headers: { ...init.headers, authorization: `Bearer ${token}` },
        redirect: 'error',
        signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
      });
    } catch (error) {
      throw new ServiceError('unavailable', 'the room server cannot be reached; try again', {
        cause: new Error(messageOf(error), { cause: error }),
      });
    }
  }
}

function linksOf(response: Response): readonly string[] {
  const links = response.headers.get('link')?.split(/,\s*(?=<)/) ?? [];
  return links.filter((link) => link !== '');
}

async function textOf(response: Response): Promise<string> {
  const text = await response.text();
  if (text.length > MAX_ANSWER_BYTES) {
    throw new ServiceError('internal', 'the answer of the room server is too large');
  }
  return text;
}

/** The reason of a problem document, else what the status says. */
function refusal(response: Response, body: string): ServiceError {
  const { status } = response;
  const code = CODE_BY_STATUS[status];
  if (code === undefined) {
    // Our token was refused, or the server failed: nothing the encoder could change.
    return new ServiceError('unavailable', `the room server answered ${status}; see its log`);
  }
  return new ServiceError(code, detailOf(body) ?? `the room server answered ${status}`, {
    blame: 'caller',
    httpStatus: status,
  });
}

function detailOf(body: string): string | undefined {
  try {
    const { detail } = JSON.parse(body) as { detail?: unknown };
    return typeof detail === 'string' && detail !== '' ? detail.slice(0, 500) : undefined;
  } catch {
    return undefined;
  }
}
