import type { IncomingMessage, ServerResponse } from 'node:http';
import { ServiceError } from '../../base/errors.ts';
import { sendProblem } from '../../base/http/problem-response.ts';
import { readBody } from '../../base/http/request-body.ts';
import type { Logger } from '../../base/logger.ts';
import type { Bus } from '../../bus/bus.ts';
import type { TokenClaims } from '../../model/grants.ts';
import { linkHeaders, type IceServer } from '../../protocol/ice-servers.ts';
import type { ApiKeys } from '../../protocol/token.ts';
import {
  CORS_HEADERS,
  decodeTrackHints,
  INGRESS_HEADER,
  isPreflight,
  optionsHeaders,
  requireMediaType,
  SDP_FRAGMENT_TYPE,
  SDP_TYPE,
  SFU_WHIP_PATH,
  TRACKS_HEADER,
  WHIP_LIMITS,
} from '../../protocol/whip.ts';
import type { RoomRegistry } from '../room-registry.ts';
import { admitBearer, requestUrl } from '../signal-admission.ts';
import { IngressNotifier } from './ingress-notifier.ts';
import { WhipSession } from './whip-session.ts';

const MAX_PENDING_REQUESTS = 256;

type Entry = { session: WhipSession; roomName: string; notifier: IngressNotifier | undefined };

/**
 * The HTTP door for encoders that have a room token: RFC 9725 at `/whip/v1`, as LiveKit's server has it. The ingress
 * comes through it on behalf of encoders that only have a stream key. No token, no byte of a body is read.
 */
export class WhipEndpoint {
  readonly #rooms: RoomRegistry;
  readonly #keys: ApiKeys;
  readonly #bus: Bus;
  readonly #iceServers: (identity: string) => IceServer[];
  readonly #logger: Logger;
  readonly #sessions = new Map<string, Entry>();
  #pending = 0;
  #closed = false;

  constructor(options: {
    rooms: RoomRegistry;
    keys: ApiKeys;
    bus: Bus;
    iceServers: (identity: string) => IceServer[];
    logger: Logger;
  }) {
    this.#iceServers = options.iceServers;
    this.#rooms = options.rooms;
    this.#keys = options.keys;
    this.#bus = options.bus;
    this.#logger = options.logger;
  }

  /** false: not a WHIP path. */
  handleRequest(req: IncomingMessage, res: ServerResponse): boolean {
    const url = requestUrl(req);
    const path = url?.pathname ?? '';
    if (url === undefined || (path !== SFU_WHIP_PATH && !path.startsWith(`${SFU_WHIP_PATH}/`))) {
      return false;
    }
    const id = path.slice(SFU_WHIP_PATH.length + 1);
    this.#pending += 1;
    this.#handle(req, res, url, id)
      .catch((error: unknown) => {
        const failure = ServiceError.from(error);
        this.#logger.info(
          { method: req.method, status: failure.httpStatus, reason: failure.message },
          'WHIP request refused',
        );
        sendProblem(req, res, failure, CORS_HEADERS);
      })
      .finally(() => {
        this.#pending -= 1;
      });
    return true;
  }

  /** Rooms have been closed before, and with them the sessions; waits until the ingress was told. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#sessions.values()].map(async ({ notifier }) => notifier?.settled()));
    this.#sessions.clear();
  }

  async #handle(req: IncomingMessage, res: ServerResponse, url: URL, id: string): Promise<void> {
    if (req.method === 'OPTIONS') {
      // Encoders that cannot take ICE servers after their offer ask for them first.
      const asks = id === '' && req.headers.authorization !== undefined && !isPreflight(req.headers);
      const links = asks ? this.#links((await admitBearer(req, url, this.#keys)).claims) : {};
      res.writeHead(204, { ...optionsHeaders(id === '' ? 'endpoint' : 'session'), ...links }).end();
      return;
    }
    if (this.#closed || this.#pending > MAX_PENDING_REQUESTS) {
      throw new ServiceError('unavailable', 'too many requests at once; try again');
    }
    const ticket = await admitBearer(req, url, this.#keys);
    if (id === '') {
      await this.#handleEndpoint(req, res, ticket);
    } else {
      await this.#handleSession(req, res, this.#find(id, ticket));
    }
  }

  async #handleEndpoint(
    req: IncomingMessage,
    res: ServerResponse,
    ticket: { roomName: string; claims: TokenClaims },
  ): Promise<void> {
    switch (req.method) {
      case 'POST':
        await this.#post(req, res, ticket);
        break;
      case 'GET':
      case 'HEAD':
        res.writeHead(204, CORS_HEADERS).end();
        break;
      default:
        throw notAllowed(req, res, 'POST, GET, OPTIONS');
    }
  }

  async #handleSession(req: IncomingMessage, res: ServerResponse, { session }: Entry): Promise<void> {
    switch (req.method) {
      case 'PATCH':
        await patch(req, res, session);
        break;
      case 'DELETE':
        session.close();
        res.writeHead(200, CORS_HEADERS).end();
        break;
      case 'GET':
      case 'HEAD':
        res.writeHead(204, CORS_HEADERS).end();
        break;
      default:
        throw notAllowed(req, res, 'PATCH, DELETE, GET, OPTIONS');
    }
  }

  async #post(
    req: IncomingMessage,
    res: ServerResponse,
    { roomName, claims }: { roomName: string; claims: TokenClaims },
  ): Promise<void> {
    requireMediaType(req.headers['content-type'], SDP_TYPE);
    const hints = decodeTrackHints(headerOf(req, TRACKS_HEADER));
    const body = await readBody(req, bodyLimits);
    const notifier =
      headerOf(req, INGRESS_HEADER) === 'true' ? new IngressNotifier(this.#bus, this.#logger) : undefined;
    const session = await WhipSession.open({
      room: () => this.#rooms.forJoin(roomName),
      claims,
      offerSdp: body.toString(),
      hints,
      logger: this.#logger,
      onReport: (report) => notifier?.notify(report),
      onClosed: () => {
        this.#forget(session.id);
      },
    });
    this.#sessions.set(session.id, { session, roomName, notifier });
    res
      .writeHead(201, {
        ...CORS_HEADERS,
        'content-type': SDP_TYPE,
        location: `${SFU_WHIP_PATH}/${session.id}`,
        etag: session.etag,
        ...this.#links(claims),
      })
      .end(session.answerSdp);
  }

  #links({ identity }: TokenClaims): { link?: string[] } {
    const link = linkHeaders(this.#iceServers(identity));
    return link.length === 0 ? {} : { link };
  }

  /** The entry stays until its ingress was told. */
  #forget(id: string): void {
    const entry = this.#sessions.get(id);
    void entry?.notifier?.settled().then(() => this.#sessions.delete(id));
    if (entry?.notifier === undefined) {
      this.#sessions.delete(id);
    }
  }

  /** A session answers only to the identity it belongs to; to others it does not exist. */
  #find(id: string, { roomName, claims }: { roomName: string; claims: TokenClaims }): Entry {
    const entry = this.#sessions.get(id);
    const participant = entry?.session.participant;
    if (
      entry === undefined ||
      participant?.isClosed !== false ||
      entry.roomName !== roomName ||
      participant.identity !== claims.identity
    ) {
      throw new ServiceError('not_found', 'no such WHIP session');
    }
    return entry;
  }
}

const bodyLimits = { maxBytes: WHIP_LIMITS.maxBodyBytes, timeoutMs: WHIP_LIMITS.bodyTimeoutMs };

async function patch(req: IncomingMessage, res: ServerResponse, session: WhipSession): Promise<void> {
  requireMediaType(req.headers['content-type'], SDP_FRAGMENT_TYPE);
  const body = await readBody(req, bodyLimits);
  const outcome = await session.patch(req.headers['if-match'], body.toString());
  if (outcome.kind === 'trickled') {
    res.writeHead(204, CORS_HEADERS).end();
  } else {
    const headers = { ...CORS_HEADERS, 'content-type': SDP_FRAGMENT_TYPE, etag: outcome.etag };
    res.writeHead(200, headers).end(outcome.fragment);
  }
}

function notAllowed(req: IncomingMessage, res: ServerResponse, allow: string): ServiceError {
  res.setHeader('allow', allow);
  return new ServiceError('bad_route', `${req.method ?? 'this method'} is not possible here; use ${allow}`, {
    httpStatus: 405,
  });
}

function headerOf(req: IncomingMessage, name: string): string | undefined {
  const value = req.headers[name];
  return Array.isArray(value) ? value[0] : value;
}
