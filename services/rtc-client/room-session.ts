/* eslint-disable @typescript-eslint/no-deprecated -- the oneof field `value` is not deprecated, only one of its cases is */
import {
  DataChannelInfo,
  LeaveRequest_Action,
  SignalTarget,
  SyncState,
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
import { LocalTracks } from './local-tracks.ts';
import type { PeerDescriptions } from './media-peer.ts';
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
import { RoomLink } from './room-link.ts';
import type { SignalRequestMessage, SignalResponseMessage } from './signal-connection.ts';
import { dispatchSignal } from './signal-dispatch.ts';
import { LeaveError } from './signal-open.ts';

const CONNECT_TIMEOUT_MS = 15_000;
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
  readonly #link: RoomLink;
  readonly #participants: Participants;
  readonly #local: LocalTracks;
  readonly #remote: RemoteTracks;
  readonly #messages = new DataMessages();
  #self: Self = { roomSid: '', roomName: '', sid: '', identity: '', name: '', metadata: '' };
  #context: ConnectionContext = INITIAL_CONTEXT;
  #attempt = new AbortController();
  #retryTimer: NodeJS.Timeout | undefined;
  #teardown: Promise<void> | undefined;

  constructor(options: RoomClientOptions) {
    this.#options = options;
    this.#logger = options.logger;
    this.events = new SafeEmitter(options.logger);
    this.#link = new RoomLink({
      url: options.url,
      token: options.token,
      autoSubscribe: options.autoSubscribe,
      timeoutMs: options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS,
      logger: options.logger,
      mediaBatchMs: options.mediaBatchMs ?? 0,
      receivesEveryCodec: options.receivesEveryCodec ?? false,
      ...(options.localMedia === undefined ? {} : { localMedia: options.localMedia }),
      onJoined: (join) => this.#adopt(join),
      onMessage: (message) => this.#onMessage(message),
      onSignalLost: (reason) => this.#input({ type: 'signalLost', reason }),
      onTransportLost: (reason) => this.#input({ type: 'transportLost', reason }),
      onData: (data) => this.#onData(data),
      onReceiveSections: () => this.#remote.matchSections(),
      syncState: (descriptions) => this.#syncState(descriptions),
    });
    const common = {
      logger: options.logger,
      send: (message: SignalRequestMessage) => this.#link.send(message),
      peer: () => this.#link.peer,
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
      await this.#link.join(this.#attempt.signal);
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
    this.#link.send({
      case: 'updateMetadata',
      value: new UpdateParticipantMetadata({ metadata, name, attributes }),
    });
  }

  updateProfile(profile: { name: string; metadata: string }): void {
    this.#self.name = profile.name || this.#self.name;
    this.#self.metadata = profile.metadata || this.#self.metadata;
    this.updateAttributes({});
  }

  async close(cause: string): Promise<void> {
    this.#link.sendLeave();
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
        void this.#try(effect.attemptId, (signal) => this.#link.resume(signal));
        break;
      case 'startRestart':
        void this.#try(effect.attemptId, (signal) => this.#restart(signal));
        break;
      case 'finish':
        this.#teardown ??= this.#finish(effect.reason);
        break;
    }
  }

  /** A new session in which everything is published and subscribed again. */
  async #restart(signal: AbortSignal): Promise<void> {
    this.#local.detach();
    await this.#link.restart(signal);
    this.#remote.resubscribe();
    await this.#local.republish();
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

  #syncState({ offer, answer }: PeerDescriptions): SyncState {
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

  #onMessage(message: SignalResponseMessage): void {
    dispatchSignal(message, {
      logger: this.#logger,
      peer: this.#link.peer,
      local: this.#local,
      remote: this.#remote,
      onParticipants: (infos) => this.#onParticipants(infos),
      onToken: (token) => {
        this.#link.token = token;
      },
      onLeave: (action, reason) => this.#input({ type: 'leave', action, reason }),
      maxAddedSections: MAX_ADDED_SECTIONS,
    });
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
    await this.#link.close(reason);
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
