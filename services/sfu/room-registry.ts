import { DisconnectReason } from '@livekit/protocol';
import { ServiceError } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import { isRelayRoom, ROOM_DEFAULTS, roomProblem, type RoomSettings } from '../model/room.ts';
import type { IceServer } from '../protocol/ice-servers.ts';
import type { PeerTransport, TransportOptions } from './media-types.ts';
import type { OnRoomEvent } from './room-news.ts';
import { RoomSession } from './room-session.ts';
import type { IssueToken } from './token-refresh.ts';

export type RoomDefaults = {
  /** Joining a room that does not exist creates it. */
  autoCreate: boolean;
  emptyTimeoutS: number;
  departureTimeoutS: number;
  maxParticipants: number;
};

/** One encoder and who transcodes it; the room ends with them. */
const RELAY_SETTINGS = { emptyTimeoutS: 60, departureTimeoutS: 1 } as const;

/** All rooms of this node by name. */
export class RoomRegistry {
  readonly #rooms = new Map<string, RoomSession>();
  readonly #nodeId: string;
  readonly #logger: Logger;
  readonly #defaults: RoomDefaults;
  readonly #issueToken: IssueToken;
  readonly #iceServers: (identity: string) => IceServer[];
  readonly #onEvent: OnRoomEvent;
  readonly #createTransport: (options: TransportOptions) => PeerTransport;

  constructor(options: {
    nodeId: string;
    logger: Logger;
    defaults: RoomDefaults;
    createTransport: (options: TransportOptions) => PeerTransport;
    issueToken: IssueToken;
    iceServers?: (identity: string) => IceServer[];
    onEvent?: OnRoomEvent;
  }) {
    this.#onEvent = options.onEvent ?? (() => undefined);
    this.#issueToken = options.issueToken;
    this.#iceServers = options.iceServers ?? (() => []);
    this.#nodeId = options.nodeId;
    this.#logger = options.logger;
    this.#defaults = options.defaults;
    this.#createTransport = options.createTransport;
  }

  /** Those that lists show. */
  listed(): RoomSession[] {
    return this.all().filter(({ name }) => !isRelayRoom(name));
  }

  all(): RoomSession[] {
    return [...this.#rooms.values()];
  }

  find(name: string): RoomSession | undefined {
    return this.#rooms.get(name);
  }

  /** @throws ServiceError not_found with LiveKit's text, which clients recognise. */
  get(name: string): RoomSession {
    const room = this.#rooms.get(name);
    if (room === undefined) {
      throw new ServiceError('not_found', 'requested room does not exist');
    }
    return room;
  }

  /** The room of that name, made if need be; settings of an existing room stay. */
  create(settings: Partial<RoomSettings> & { name: string }): RoomSession {
    const existing = this.#rooms.get(settings.name);
    if (existing !== undefined) {
      return existing;
    }
    const isRelay = isRelayRoom(settings.name);
    const complete: RoomSettings = isRelay
      ? { ...ROOM_DEFAULTS, ...RELAY_SETTINGS, name: settings.name }
      : { ...ROOM_DEFAULTS, ...this.#defaults, ...settings };
    const problem = roomProblem(complete);
    if (problem !== undefined) {
      throw new ServiceError('invalid_argument', problem);
    }
    const room = new RoomSession({
      settings: complete,
      nodeId: this.#nodeId,
      createTransport: this.#createTransport,
      issueToken: this.#issueToken,
      iceServers: this.#iceServers,
      logger: this.#logger,
      onEvent: isRelay ? () => undefined : this.#onEvent,
      onClosed: (closed) => {
        if (this.#rooms.get(closed.name) === closed) {
          this.#rooms.delete(closed.name);
        }
      },
    });
    this.#rooms.set(room.name, room);
    return room;
  }

  mayJoin(name: string): boolean {
    return this.#defaults.autoCreate || isRelayRoom(name) || this.#rooms.has(name);
  }

  /** The room a client joins. @throws ServiceError not_found when rooms are only made by the API. */
  forJoin(name: string): RoomSession {
    return this.#defaults.autoCreate || isRelayRoom(name) ? this.create({ name }) : this.get(name);
  }

  close(): void {
    for (const room of this.all()) {
      room.close(DisconnectReason.SERVER_SHUTDOWN);
    }
  }
}
