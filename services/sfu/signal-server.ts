/* eslint-disable @typescript-eslint/no-deprecated -- the oneof field of that name is not deprecated, only one of its cases is */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { DisconnectReason, type JoinRequest } from '@livekit/protocol';
import { WebSocketServer, type WebSocket } from 'ws';
import { ServiceError } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import { SIGNAL_LIMITS } from '../protocol/signal.ts';
import type { ApiKeys } from '../protocol/token.ts';
import type { ParticipantSession } from './participant-session.ts';
import type { RoomRegistry } from './room-registry.ts';
import { admitClient, requestUrl, SIGNAL_PATHS, type JoinTicket } from './signal-admission.ts';
import { SignalConnection } from './signal-connection.ts';

export type SignalServerLimits = {
  /** Upgrades whose token is being checked at the same time. */
  maxPendingUpgrades: number;
  /** Open signal connections of this node. */
  maxConnections: number;
};

export const SIGNAL_SERVER_LIMITS: SignalServerLimits = { maxPendingUpgrades: 256, maxConnections: 20_000 };

/** The WebSocket door of the rooms: `/rtc/v1` and the validate requests clients make after a failed upgrade. */
export class SignalServer {
  readonly #rooms: RoomRegistry;
  readonly #keys: ApiKeys;
  readonly #logger: Logger;
  readonly #limits: SignalServerLimits;
  readonly #connections = new Set<SignalConnection>();
  readonly #sockets = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    maxPayload: SIGNAL_LIMITS.maxFrameBytes,
  });
  #pendingUpgrades = 0;
  #closed = false;

  constructor(options: { rooms: RoomRegistry; keys: ApiKeys; logger: Logger; limits?: SignalServerLimits }) {
    this.#rooms = options.rooms;
    this.#keys = options.keys;
    this.#logger = options.logger;
    this.#limits = options.limits ?? SIGNAL_SERVER_LIMITS;
  }

  /** Takes `/rtc/v1`; false: not our path, the socket is untouched. */
  handleUpgrade(req: IncomingMessage, socket: Duplex, head: Buffer): boolean {
    const url = requestUrl(req);
    if (url?.pathname !== SIGNAL_PATHS.connect) {
      return false;
    }
    const onEarlyError = (): void => {
      socket.destroy();
    };
    socket.on('error', onEarlyError);
    if (
      this.#closed ||
      this.#pendingUpgrades >= this.#limits.maxPendingUpgrades ||
      this.#connections.size >= this.#limits.maxConnections
    ) {
      refuseUpgrade(socket, new ServiceError('unavailable', 'too many connections, try again later'));
      return true;
    }
    this.#pendingUpgrades += 1;
    this.#admit(req, url)
      .then((ticket) => {
        if (this.#closed) {
          throw new ServiceError('unavailable', 'the server is shutting down');
        }
        socket.off('error', onEarlyError);
        this.#sockets.handleUpgrade(req, socket, head, (webSocket) => {
          this.#connect(webSocket, ticket);
        });
      })
      .catch((error: unknown) => {
        const failure = ServiceError.from(error);
        this.#logger.info({ reason: failure.message, code: failure.code }, 'signal connection refused');
        refuseUpgrade(socket, failure);
      })
      .finally(() => {
        this.#pendingUpgrades -= 1;
      });
    return true;
  }

  /** Answers the validate paths; false: not ours. */
  handleRequest(req: IncomingMessage, res: ServerResponse): boolean {
    const url = requestUrl(req);
    if (url === undefined || !(SIGNAL_PATHS.validate as readonly string[]).includes(url.pathname)) {
      return false;
    }
    res.setHeader('Access-Control-Allow-Origin', '*');
    res.setHeader('Access-Control-Allow-Headers', 'Authorization, Content-Type');
    res.setHeader('Content-Type', 'text/plain; charset=utf-8');
    if (req.method === 'OPTIONS') {
      res.writeHead(204).end();
      return true;
    }
    this.#admit(req, url)
      .then(() => {
        res.writeHead(200).end('success');
      })
      .catch((error: unknown) => {
        const failure = ServiceError.from(error);
        res.writeHead(failure.httpStatus).end(failure.message);
      });
    return true;
  }

  /** Ends every connection; rooms are closed by their registry before. */
  close(cause: string): void {
    this.#closed = true;
    for (const connection of this.#connections) {
      connection.close(cause);
    }
    this.#sockets.close();
  }

  async #admit(req: IncomingMessage, url: URL): Promise<JoinTicket> {
    const ticket = await admitClient(req, url, this.#keys);
    if (!this.#rooms.mayJoin(ticket.roomName)) {
      throw new ServiceError('not_found', 'requested room does not exist');
    }
    return ticket;
  }

  #connect(webSocket: WebSocket, ticket: JoinTicket): void {
    const connection = new SignalConnection(webSocket, this.#logger.child({ room: ticket.roomName }));
    this.#connections.add(connection);
    connection.events.on('closed', () => {
      this.#connections.delete(connection);
    });
    try {
      if (ticket.admission.join.reconnect) {
        this.#resume(connection, ticket);
      } else {
        this.#join(connection, ticket);
      }
    } catch (error) {
      const failure = ServiceError.from(error);
      this.#logger.warn({ err: failure, room: ticket.roomName }, 'join refused');
      connection.leave(DisconnectReason.JOIN_FAILURE, 'disconnect');
    }
  }

  #join(connection: SignalConnection, ticket: JoinTicket): void {
    const participant = this.#rooms.forJoin(ticket.roomName).join(ticket.admission, connection);
    this.#runJoinRequest(participant, ticket.admission.join);
  }

  #resume(connection: SignalConnection, ticket: JoinTicket): void {
    const { claims, join } = ticket.admission;
    const participant = this.#rooms
      .find(ticket.roomName)
      ?.resume(claims.identity, join.participantSid, connection);
    if (participant === undefined) {
      connection.leave(DisconnectReason.STATE_MISMATCH, 'reconnect');
      return;
    }
    this.#runJoinRequest(participant, join);
  }

  /** What a join request carries in advance is what the client would otherwise send right after joining. */
  #runJoinRequest(participant: ParticipantSession, join: JoinRequest): void {
    for (const value of join.addTrackRequests) {
      participant.enqueue({ case: 'addTrack', value });
    }
    if (join.syncState !== undefined) {
      participant.enqueue({ case: 'syncState', value: join.syncState });
    }
    if (join.publisherOffer !== undefined) {
      participant.enqueue({ case: 'offer', value: join.publisherOffer });
    }
  }
}

function refuseUpgrade(socket: Duplex, error: ServiceError): void {
  const body = Buffer.from(error.message);
  socket.end(
    [
      `HTTP/1.1 ${error.httpStatus} ${error.code}`,
      'Connection: close',
      'Content-Type: text/plain; charset=utf-8',
      `Content-Length: ${body.byteLength}`,
      '',
      '',
    ].join('\r\n') + body.toString(),
  );
}
