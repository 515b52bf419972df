import {
  Codec,
  type DataPacket,
  DisconnectReason,
  ParticipantUpdate,
  Room,
  RoomUpdate,
  SpeakersChanged,
} from '@livekit/protocol';
import { randomBytes } from 'node:crypto';
import { ServiceError } from '../base/errors.ts';
import { newId } from '../base/ids.ts';
import type { Logger } from '../base/logger.ts';
import { isDependent } from '../model/participant.ts';
import { ENABLED_CODECS, type RoomSettings } from '../model/room.ts';
import type { IceServer } from '../protocol/ice-servers.ts';
import type { SignalMessage } from '../protocol/signal.ts';
import { isAddressedTo, type DataReliability, type RelayedData } from './data-relay.ts';
import { joinResponse, reconnectResponse } from './join-messages.ts';
import type { PeerTransport, TransportOptions } from './media-types.ts';
import { profileOf, type Admission } from './participant-info.ts';
import { ParticipantSession } from './participant-session.ts';
import { RoomNews, type OnRoomEvent } from './room-news.ts';
import { RoomTracks } from './room-tracks.ts';
import type { SignalConnection } from './signal-connection.ts';
import type { IssueToken } from './token-refresh.ts';
import { ActiveSpeakers } from './active-speakers.ts';
import { ConnectionQualities } from './connection-quality.ts';

export type RoomSessionOptions = {
  settings: RoomSettings;
  nodeId: string;
  createTransport: (options: TransportOptions) => PeerTransport;
  issueToken: IssueToken;
  iceServers: (identity: string) => IceServer[];
  logger: Logger;
  onClosed: (room: RoomSession) => void;
  onEvent: OnRoomEvent;
};

/** One live room: who is in it, what is published, and the news everybody gets. */
export class RoomSession {
  readonly sid = newId('RM_');
  readonly createdAtMs = Date.now();
  readonly settings: RoomSettings;
  readonly logger: Logger;
  readonly tracks: RoomTracks;
  readonly news: RoomNews;
  readonly #options: RoomSessionOptions;
  readonly #participants = new Map<string, ParticipantSession>();
  readonly #sifTrailer = randomBytes(16);
  readonly #speakers: ActiveSpeakers;
  readonly #qualities: ConnectionQualities;
  #emptyTimer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: RoomSessionOptions) {
    this.#options = options;
    this.settings = { ...options.settings };
    this.logger = options.logger.child({ room: this.settings.name, roomSid: this.sid });
    const participants = (): ParticipantSession[] => this.participants();
    this.tracks = new RoomTracks(this);
    this.news = new RoomNews(() => this.info(), options.onEvent);
    this.#speakers = new ActiveSpeakers({
      participants,
      announce: (value) => {
        this.broadcast({ case: 'speakersChanged', value });
      },
    });
    this.#qualities = new ConnectionQualities({ participants });
    this.#closeWhenEmptyFor(this.settings.emptyTimeoutS);
    this.logger.info('room created');
    this.news.roomStarted();
  }

  get name(): string {
    return this.settings.name;
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  participants(): ParticipantSession[] {
    return [...this.#participants.values()];
  }

  find(identity: string): ParticipantSession | undefined {
    return this.#participants.get(identity);
  }

  /** @throws ServiceError not_found, LiveKit's text. Hidden participants are found: the API may act on them. */
  participant(identity: string): ParticipantSession {
    const participant = this.#participants.get(identity);
    if (participant === undefined) {
      throw new ServiceError('not_found', 'participant does not exist');
    }
    return participant;
  }

  info(): Room {
    const participants = this.participants();
    return new Room({
      sid: this.sid,
      name: this.name,
      emptyTimeout: this.settings.emptyTimeoutS,
      departureTimeout: this.settings.departureTimeoutS,
      maxParticipants: this.settings.maxParticipants,
      creationTime: BigInt(Math.floor(this.createdAtMs / 1000)),
      creationTimeMs: BigInt(this.createdAtMs),
      enabledCodecs: ENABLED_CODECS.map((mime) => new Codec({ mime })),
      metadata: this.settings.metadata,
      numParticipants: participants.filter((other) => !other.isHidden && !other.isDependent).length,
      numPublishers: participants.filter((other) => other.publishing.tracks().length > 0).length,
      activeRecording: participants.some((other) => other.permissions.recorder),
    });
  }

  /**
   * Lets a verified client in: an earlier session of the same identity ends, the client gets its `join`.
   * @param connection undefined for a WHIP client, whose signalling is its HTTP requests.
   * @throws ServiceError resource_exhausted when the room is full.
   */
  join(admission: Admission, connection: SignalConnection | undefined): ParticipantSession {
    const before = this.#participants.get(admission.claims.identity);
    before?.close(DisconnectReason.DUPLICATE_IDENTITY, 'disconnect');
    this.#checkCapacity(admission);
    const participant = new ParticipantSession({
      room: this,
      admission,
      createTransport: this.#options.createTransport,
      issueToken: this.#options.issueToken,
      logger: this.logger,
    });
    if (!participant.isDependent) {
      clearTimeout(this.#emptyTimer);
    }
    this.#participants.set(participant.identity, participant);
    if (connection !== undefined) {
      participant.connect(connection);
    }
    participant.send({
      case: 'join',
      value: joinResponse({
        room: this.info(),
        participant: participant.info(),
        others: this.#visibleTo(participant)
          .filter((other) => other !== participant)
          .map((other) => other.info()),
        nodeId: this.#options.nodeId,
        iceServers: this.#options.iceServers(participant.identity),
        sifTrailer: this.#sifTrailer,
      }),
    });
    participant.joined();
    this.participantChanged(participant, { skipSelf: true });
    if (participant.permissions.recorder) {
      this.infoChanged();
    }
    const speakers = this.#speakers.current();
    if (speakers.length > 0) {
      participant.send({ case: 'speakersChanged', value: new SpeakersChanged({ speakers }) });
    }
    participant.logger.info(
      { kind: participant.kind, clientVersion: participant.clientInfo.version },
      'joined',
    );
    this.tracks.reconsiderFor(participant);
    return participant;
  }

  /** Continues a session after its WebSocket broke. undefined: there is no such session (any more). */
  resume(
    identity: string,
    participantSid: string,
    connection: SignalConnection,
  ): ParticipantSession | undefined {
    const participant = this.#participants.get(identity);
    if (participant === undefined || (participantSid !== '' && participant.sid !== participantSid)) {
      return undefined;
    }
    participant.connect(connection);
    participant.send({
      case: 'reconnect',
      value: reconnectResponse({
        nodeId: this.#options.nodeId,
        iceServers: this.#options.iceServers(participant.identity),
        lastMessageSequence: participant.data.lastReliableSequence,
      }),
    });
    participant.send({
      case: 'update',
      value: new ParticipantUpdate({
        participants: this.#visibleTo(participant).map((other) => other.info()),
      }),
    });
    participant.send({ case: 'roomUpdate', value: new RoomUpdate({ room: this.info() }) });
    participant.dynacast.repeat(participant.publishing.tracks());
    participant.subscriptions.askForSections();
    participant.logger.info('signalling resumed');
    return participant;
  }

  /** Sends to everybody, hidden participants included. */
  broadcast(message: SignalMessage, except?: ParticipantSession): void {
    for (const participant of this.#participants.values()) {
      if (participant !== except) {
        participant.send(message);
      }
    }
  }

  /** Shows a participant's new state. A hidden one is shown to itself only. */
  participantChanged(participant: ParticipantSession, options: { skipSelf?: boolean } = {}): void {
    const update = new ParticipantUpdate({ participants: [participant.changed()] });
    if (!participant.isHidden) {
      this.broadcast({ case: 'update', value: update }, participant);
    }
    if (options.skipSelf !== true) {
      participant.send({ case: 'update', value: update });
    }
  }

  infoChanged(): void {
    this.broadcast({ case: 'roomUpdate', value: new RoomUpdate({ room: this.info() }) });
  }

  setMetadata(metadata: string): void {
    this.settings.metadata = metadata;
    this.infoChanged();
  }

  /** A participant's session ended (it calls this itself, before its tracks go). */
  removed(participant: ParticipantSession): void {
    if (this.#participants.get(participant.identity) === participant) {
      this.#participants.delete(participant.identity);
    }
    if (!participant.isHidden) {
      const update = new ParticipantUpdate({ participants: [participant.changed()] });
      this.broadcast({ case: 'update', value: update });
    }
    if (participant.permissions.recorder && !this.#closed) {
      this.infoChanged();
    }
    if (!this.participants().some((other) => !other.isDependent)) {
      this.#closeWhenEmptyFor(this.settings.departureTimeoutS);
    }
  }

  relayData(data: RelayedData, sender: ParticipantSession): void {
    for (const participant of this.#participants.values()) {
      if (participant !== sender && isAddressedTo(data.packet, participant)) {
        participant.data.send(data.bytes, data.reliability);
      }
    }
  }

  /** Data from the API, without a sender. */
  sendData(packet: DataPacket, reliability: DataReliability): void {
    const bytes = packet.toBinary();
    for (const participant of this.#participants.values()) {
      if (isAddressedTo(packet, participant)) {
        participant.data.send(bytes, reliability);
      }
    }
  }

  /** Everybody is sent away; the room is gone. */
  close(reason: DisconnectReason): void {
    if (this.#closed) {
      return;
    }
    this.#closed = true;
    clearTimeout(this.#emptyTimer);
    this.#speakers.close();
    this.#qualities.close();
    this.#options.onClosed(this);
    for (const participant of this.participants()) {
      participant.close(reason, 'disconnect');
    }
    this.logger.info({ reason: DisconnectReason[reason] }, 'room closed');
    this.news.roomFinished();
  }

  /** Recorders, egress and agents do not count. */
  #checkCapacity(admission: Admission): void {
    const { kind, permissions } = profileOf(admission);
    const { maxParticipants } = this.settings;
    const counted = this.participants().filter((other) => !other.isDependent).length;
    if (maxParticipants > 0 && counted >= maxParticipants && !isDependent(kind, permissions)) {
      throw new ServiceError('resource_exhausted', 'room has exceeded its max participants');
    }
  }

  #visibleTo(viewer: ParticipantSession): ParticipantSession[] {
    return this.participants().filter((other) => other === viewer || !other.isHidden);
  }

  #closeWhenEmptyFor(timeoutS: number): void {
    clearTimeout(this.#emptyTimer);
    if (this.#closed) {
      return;
    }
    this.#emptyTimer = setTimeout(() => {
      this.close(DisconnectReason.ROOM_CLOSED);
    }, timeoutS * 1000).unref();
  }
}
