import {
  DataChannelInfo,
  DisconnectReason,
  LeaveRequest,
  LeaveRequest_Action,
  ReconnectReason,
  SignalTarget,
  SyncState,
  TrickleRequest,
  UpdateParticipantMetadata,
  type JoinResponse,
  type ParticipantInfo,
} from '@livekit/protocol';
import { ServiceError } from '../base/errors.ts';
import { SafeEmitter } from '../base/events.ts';
import type { Logger } from '../base/logger.ts';
import {
  INITIAL_CONTEXT,
  transition,
  type ConnectionContext,
  type ConnectionEffect,
  type ConnectionInput,
} from './connection-machine.ts';
import { DataMessages } from './data-messages.ts';
import { localCertificate } from './dtls-session.ts';
import { LocalTracks } from './local-tracks.ts';
import { MediaPeer } from './media-peer.ts';
import { Participants, type Participant } from './participants.ts';
import { RemoteTracks } from './remote-tracks.ts';
import type {
  PublishOptions,
  RemoteTrack,
  RoomClient,
  RoomClientEvents,
  RoomClientOptions,
  TrackPublisher,
  TrackSubscription,
} from './room-client-types.ts';
import {
  LeaveError,
  openSignal,
  type SignalConnection,
  type SignalRequestMessage,
} from './signal-connection.ts';
import { dispatchSignal } from './signal-dispatch.ts';

const CONNECT_TIMEOUT_MS = 15_000;
/** Receiving sections in the first offer: more are added when the server asks, at the price of a round trip. */
const RECEIVE_SECTIONS = { auto: { audio: 3, video: 3 }, onDemand: { audio: 1, video: 1 } } as const;
/** Bounds what mediaSectionsRequirement can make us offer. */
const MAX_ADDED_SECTIONS = 64;
/** Errors no further attempt can cure. */
const FINAL_CODES: ReadonlySet<string> = new Set([
  'unauthenticated',
  'permission_denied',
  'not_found',
  'invalid_argument',
]);

type Self = {
  roomSid: string;
  roomName: string;
  sid: string;
  identity: string;
  name: string;
  metadata: string;
};

/** One stay in a room, over as many connections as it takes. */
export class RoomSession implements RoomClient {
  readonly events: SafeEmitter<RoomClientEvents>;
  readonly #options: RoomClientOptions;
  readonly #logger: Logger;
  readonly #timeoutMs: number;
  readonly #participants: Participants;
  readonly #local: LocalTracks;
  readonly #remote: RemoteTracks;
  readonly #messages = new DataMessages();
  #self: Self = { roomSid: '', roomName: '', sid: '', identity: '', name: '', metadata: '' };
  #token: string;
  #context: ConnectionContext = INITIAL_CONTEXT;
  #signal: SignalConnection | undefined;
  #peer: MediaPeer | undefined;
  #attempt = new AbortController();
  #retryTimer: NodeJS.Timeout | undefined;
  #teardown: Promise<void> | undefined;

  constructor(options: RoomClientOptions) {
    this.#options = options;
    this.#logger = options.logger;
    this.#token = options.token;
    this.#timeoutMs = options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS;
    this.events = new SafeEmitter(options.logger);
    const common = {
      logger: options.logger,
      send: (message: SignalRequestMessage) => this.#signal?.send(message),
      peer: () => this.#peer,
    };
    this.#local = new LocalTracks(common);
    this.#remote = new RemoteTracks({ ...common, autoSubscribe: options.autoSubscribe });
    this.#participants = new Participants({
      joined: (participant) => this.events.emit('participantJoined', { ...participant }),
      left: ({ identity, sid }) => this.events.emit('participantLeft', { identity, sid }),
      trackPublished: (track) => this.events.emit('trackPublished', track),
      trackUnpublished: (track) => {
        this.#remote.onUnpublished(track);
        this.events.emit('trackUnpublished', track);
      },
      trackMuted: (track, muted) => {
        this.#remote.onMuted(track, muted);
        this.events.emit('trackMuted', { track, muted });
      },
    });
  }

  get roomSid(): string {
    return this.#self.roomSid;
  }

  get roomName(): string {
    return this.#self.roomName;
  }

  get participantSid(): string {
    return this.#self.sid;
  }

  get identity(): string {
    return this.#self.identity;
  }

  async connect(): Promise<void> {
    const { signal } = this.#options;
    const onAbort = (): void => void this.close('aborted by the caller');
    if (signal?.aborted === true) {
      throw new ServiceError('canceled', 'connecting was cancelled before it began');
    }
    signal?.addEventListener('abort', onAbort, { once: true });
    this.events.once('disconnected', () => signal?.removeEventListener('abort', onAbort));
    const { attemptId } = this.#context;
    try {
      await this.#join(this.#attempt.signal);
    } catch (error) {
      const failure = ServiceError.from(error, 'unavailable');
      this.#input({ type: 'attemptFailed', attemptId, outcome: 'final', reason: failure.message });
      await this.#teardown;
      throw failure;
    }
    this.#input({ type: 'established', attemptId });
  }

  tracks(): RemoteTrack[] {
    return this.#participants.tracks();
  }

  participants(): Participant[] {
    return this.#participants.list().map((participant) => ({ ...participant }));
  }

  async publish(options: PublishOptions): Promise<TrackPublisher> {
    this.#requireConnected('publish');
    return this.#local.publish(options);
  }

  async subscribe(trackSid: string): Promise<TrackSubscription> {
    this.#requireConnected('subscribe');
    const track = this.#participants.track(trackSid);
    if (track === undefined) {
      throw new ServiceError('not_found', `no track ${trackSid} is published in the room`);
    }
    return this.#remote.subscribe(track);
  }

  updateAttributes(attributes: Record<string, string>): void {
    // Name and metadata are sent along unchanged: servers take an empty string for "leave as it is" or for "clear".
    const { metadata, name } = this.#self;
    this.#signal?.send({
      case: 'updateMetadata',
      value: new UpdateParticipantMetadata({ metadata, name, attributes }),
    });
  }

  async close(cause: string): Promise<void> {
    this.#signal?.send({
      case: 'leave',
      value: new LeaveRequest({
        reason: DisconnectReason.CLIENT_INITIATED,
        action: LeaveRequest_Action.DISCONNECT,
      }),
    });
    this.#input({ type: 'close', reason: cause });
    await this.#teardown;
  }

  #requireConnected(what: string): void {
    if (this.#context.state !== 'connected') {
      throw new ServiceError(
        'unavailable',
        `cannot ${what}: the connection to the room is ${this.#context.state}`,
      );
    }
  }

  #input(input: ConnectionInput): void {
    const result = transition(this.#context, input);
    if (result === undefined) {
      return;
    }
    if (result.context.attemptId !== this.#context.attemptId || result.context.state === 'closed') {
      this.#attempt.abort();
      this.#attempt = new AbortController();
    }
    this.#logger.debug(
      { from: this.#context.state, to: result.context.state, input: input.type },
      'room connection',
    );
    this.#context = result.context;
    for (const effect of result.effects) {
      this.#run(effect);
    }
  }

  #run(effect: ConnectionEffect): void {
    switch (effect.type) {
      case 'announceConnected':
        this.#logger.info(
          { room: this.#self.roomName, participantSid: this.#self.sid, how: effect.how },
          'room connected',
        );
        if (effect.how !== 'joined') {
          this.events.emit('reconnected', { resumed: effect.how === 'resumed' });
        }
        break;
      case 'announceReconnecting':
        this.#logger.warn({ attempt: effect.attempt }, 'room connection lost, reconnecting');
        this.events.emit('reconnecting', { attempt: effect.attempt });
        break;
      case 'schedule':
        clearTimeout(this.#retryTimer);
        this.#retryTimer = setTimeout(() => {
          this.#input({ type: 'retryDue', attemptId: effect.attemptId });
        }, effect.delayMs);
        break;
      case 'startResume':
        void this.#try(effect.attemptId, (signal) => this.#resume(signal));
        break;
      case 'startRestart':
        void this.#try(effect.attemptId, (signal) => this.#restart(signal));
        break;
      case 'finish':
        this.#teardown ??= this.#finish(effect.reason);
        break;
    }
  }

  async #try(attemptId: number, attempt: (signal: AbortSignal) => Promise<void>): Promise<void> {
    try {
      await attempt(this.#attempt.signal);
      this.#input({ type: 'established', attemptId });
    } catch (error) {
      const failure = ServiceError.from(error, 'unavailable');
      this.#logger.debug({ err: failure }, 'reconnect attempt failed');
      this.#input({ type: 'attemptFailed', attemptId, outcome: outcomeOf(failure), reason: failure.message });
    }
  }

  /** A new session: signalling, participants, peer connection. */
  async #join(signal: AbortSignal): Promise<void> {
    const certificate = await localCertificate();
    const { url, autoSubscribe } = this.#options;
    let connection: SignalConnection | undefined;
    const peer = new MediaPeer({
      logger: this.#logger,
      certificate,
      loopback: isLoopback(url),
      receiveSections: autoSubscribe ? RECEIVE_SECTIONS.auto : RECEIVE_SECTIONS.onDemand,
      sendOffer: (offer) => this.#signal?.send({ case: 'offer', value: offer }),
      sendCandidate: (candidate) => {
        (this.#signal ?? connection)?.send({ case: 'trickle', value: trickle(candidate) });
      },
      onData: (_label, data) => this.#onData(data),
      onReceiveSections: () => this.#remote.matchSections(),
      onFailed: (reason) => {
        if (this.#peer === peer) {
          this.#input({ type: 'transportLost', reason });
        }
      },
    });
    try {
      const opened = await openSignal({
        url,
        token: this.#token,
        autoSubscribe,
        intent: { type: 'join', offer: peer.initialOffer() },
        signal,
        timeoutMs: this.#timeoutMs,
        logger: this.#logger,
      });
      if (opened.first.type !== 'join') {
        await opened.connection.close();
        throw new ServiceError('unavailable', 'the server resumed a session instead of opening one');
      }
      connection = opened.connection;
      signal.throwIfAborted();
      const join = opened.first.response;
      await peer.gather(
        join.iceServers.map(({ urls, username, credential }) => ({ urls, username, credential })),
        join.clientConfiguration?.forceRelay === 2,
      );
      this.#peer = peer;
      this.#signal = connection;
      this.#adopt(join);
      this.#listen(connection);
      await deadline(peer.connected(), signal, this.#timeoutMs);
    } catch (error) {
      if (this.#peer === peer) {
        this.#peer = undefined;
      }
      if (this.#signal === connection) {
        this.#signal = undefined;
      }
      await connection?.close();
      await peer.close('could not connect');
      throw error;
    }
  }

  async #restart(signal: AbortSignal): Promise<void> {
    this.#local.detach();
    const [oldSignal, oldPeer] = [this.#signal, this.#peer];
    this.#signal = undefined;
    this.#peer = undefined;
    oldSignal?.send({
      case: 'leave',
      value: new LeaveRequest({
        reason: DisconnectReason.CLIENT_INITIATED,
        action: LeaveRequest_Action.DISCONNECT,
      }),
    });
    await oldSignal?.close();
    await oldPeer?.close('reconnecting');
    await this.#join(signal);
    this.#remote.resubscribe();
    await this.#local.republish();
  }

  /** The same session over a new WebSocket, with an ICE restart. */
  async #resume(signal: AbortSignal): Promise<void> {
    const peer = this.#peer;
    if (peer?.isConnected !== true) {
      throw new LeaveError(LeaveRequest_Action.RECONNECT, DisconnectReason.STATE_MISMATCH);
    }
    const old = this.#signal;
    this.#signal = undefined;
    await old?.close();
    const { connection } = await openSignal({
      url: this.#options.url,
      token: this.#token,
      autoSubscribe: this.#options.autoSubscribe,
      intent: {
        type: 'resume',
        participantSid: this.#self.sid,
        reason: ReconnectReason.RR_SIGNAL_DISCONNECTED,
      },
      signal,
      timeoutMs: this.#timeoutMs,
      logger: this.#logger,
    });
    if (signal.aborted) {
      await connection.close();
      signal.throwIfAborted();
    }
    this.#signal = connection;
    connection.send({ case: 'syncState', value: this.#syncState(peer) });
    this.#listen(connection);
    try {
      await deadline(peer.restartIce(), signal, this.#timeoutMs);
    } catch (error) {
      throw new LeaveError(LeaveRequest_Action.RECONNECT, DisconnectReason.CONNECTION_TIMEOUT, error);
    }
  }

  #syncState(peer: MediaPeer): SyncState {
    const { offer, answer } = peer.descriptions;
    return new SyncState({
      ...(offer === undefined ? {} : { offer }),
      ...(answer === undefined ? {} : { answer }),
      subscription: this.#remote.subscriptionState(),
      publishTracks: this.#local.published(),
      dataChannels: ['_reliable', '_lossy'].map(
        (label, index) => new DataChannelInfo({ label, id: index * 2, target: SignalTarget.PUBLISHER }),
      ),
    });
  }

  #adopt(join: JoinResponse): void {
    this.#self = {
      roomSid: join.room?.sid ?? '',
      roomName: join.room?.name ?? '',
      sid: join.participant?.sid ?? '',
      identity: join.participant?.identity ?? '',
      name: join.participant?.name ?? '',
      metadata: join.participant?.metadata ?? '',
    };
    this.#remote.serverFrameTrailer = join.sifTrailer;
    this.#participants.replaceAll(join.otherParticipants);
  }

  #listen(connection: SignalConnection): void {
    const isCurrent = (): boolean => this.#signal === connection;
    connection.start(
      (message) => {
        if (!isCurrent()) {
          return;
        }
        dispatchSignal(message, {
          logger: this.#logger,
          peer: this.#peer,
          local: this.#local,
          remote: this.#remote,
          onParticipants: (infos) => this.#onParticipants(infos),
          onToken: (token) => {
            this.#token = token;
          },
          onLeave: (action, reason) => this.#input({ type: 'leave', action, reason }),
          maxAddedSections: MAX_ADDED_SECTIONS,
        });
      },
      (reason) => {
        if (isCurrent()) {
          this.#input({ type: 'signalLost', reason });
        }
      },
    );
  }

  #onParticipants(infos: readonly ParticipantInfo[]): void {
    const own = infos.find((info) => info.sid === this.#self.sid);
    if (own !== undefined) {
      this.#self.name = own.name;
      if (own.metadata !== this.#self.metadata) {
        this.#self.metadata = own.metadata;
        this.events.emit('metadataChanged', { metadata: own.metadata });
      }
    }
    this.#participants.update(infos.filter((info) => info.sid !== this.#self.sid));
  }

  #onData(data: Uint8Array): void {
    const message = this.#messages.read(data);
    if (message !== undefined) {
      this.events.emit('data', message);
    }
  }

  async #finish(reason: string): Promise<void> {
    clearTimeout(this.#retryTimer);
    this.#local.close(reason);
    this.#remote.close(reason);
    const [signal, peer] = [this.#signal, this.#peer];
    this.#signal = undefined;
    this.#peer = undefined;
    await Promise.all([signal?.close(), peer?.close(reason)]);
    this.#logger.info({ room: this.#self.roomName, reason }, 'room disconnected');
    this.events.emit('disconnected', { reason });
  }
}

function outcomeOf(error: ServiceError): 'retry' | 'escalate' | 'final' {
  if (error instanceof LeaveError) {
    return error.action === LeaveRequest_Action.DISCONNECT ? 'final' : 'escalate';
  }
  return FINAL_CODES.has(error.code) ? 'final' : 'retry';
}

function isLoopback(url: string): boolean {
  try {
    return /^(localhost|127\.|\[::1\])/i.test(new URL(url).hostname);
  } catch {
    return false;
  }
}

function trickle(candidate: string): TrickleRequest {
  return new TrickleRequest({
    candidateInit: JSON.stringify({ candidate, sdpMid: '0', sdpMLineIndex: 0 }),
    target: SignalTarget.PUBLISHER,
  });
}

/** @throws ServiceError deadline_exceeded | canceled, or what the promise rejects with. */
async function deadline<T>(promise: Promise<T>, signal: AbortSignal, timeoutMs: number): Promise<T> {
  promise.catch(() => undefined);
  let cleanUp: () => void = () => undefined;
  const limit = new Promise<never>((_resolve, reject) => {
    const timer = setTimeout(() => {
      reject(new ServiceError('deadline_exceeded', `media did not connect within ${timeoutMs} ms`));
    }, timeoutMs);
    const onAbort = (): void => reject(new ServiceError('canceled', 'the attempt was given up'));
    signal.addEventListener('abort', onAbort, { once: true });
    cleanUp = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
    };
    if (signal.aborted) {
      onAbort();
    }
  });
  try {
    return await Promise.race([promise, limit]);
  } finally {
    cleanUp();
  }
}
