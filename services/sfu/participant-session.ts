import {
  type ClientInfo,
  DisconnectReason,
  MediaSectionsRequirement,
  MuteTrackRequest,
  type ParticipantInfo,
  SessionDescription,
  TrackUnpublishedResponse,
} from '@livekit/protocol';
import { newId } from '../base/ids.ts';
import type { Logger } from '../base/logger.ts';
import {
  isDependent,
  mergeAttributes,
  type ParticipantKind,
  type ParticipantPermissions,
  type ParticipantState,
} from '../model/participant.ts';
import { EVERYBODY, type TrackPermissionPolicy } from '../model/track-permission.ts';
import type { LeaveAction, SignalMessage, SignalRequestMessage } from '../protocol/signal.ts';
import { ParticipantData } from './data-relay.ts';
import { Dynacast } from './dynacast.ts';
import type { PeerTransport, TransportOptions } from './media-types.ts';
import { participantInfo, profileOf, type Admission } from './participant-info.ts';
import { Negotiation, type NegotiatedAnswer } from './negotiation.ts';
import type { PublishedTrack } from './published-track.ts';
import { Publishing } from './publishing.ts';
import type { RoomSession } from './room-session.ts';
import type { SignalConnection } from './signal-connection.ts';
import { SignalLink } from './signal-link.ts';
import { handleSignalRequest } from './signal-requests.ts';
import { subscriptionsHostOf, tellUnsupported } from './subscriptions-host.ts';
import { Subscriptions } from './subscriptions.ts';
import { TOKEN_REFRESH, type IssueToken } from './token-refresh.ts';

/** One participant of a room: its identity and rights, its signalling, and what it publishes and receives. */
export class ParticipantSession {
  readonly sid = newId('PA_');
  readonly identity: string;
  readonly kind: ParticipantKind;
  readonly room: RoomSession;
  readonly transport: PeerTransport;
  readonly publishing: Publishing;
  readonly subscriptions: Subscriptions;
  readonly data: ParticipantData;
  readonly dynacast: Dynacast;
  readonly clientInfo: ClientInfo;
  readonly logger: Logger;
  readonly joinedAtMs = Date.now();
  name: string;
  metadata: string;
  attributes: Record<string, string>;
  permissions: ParticipantPermissions;
  trackPermissions: TrackPermissionPolicy = EVERYBODY;
  readonly #negotiation: Negotiation;
  #state: ParticipantState = 'joining';
  #version = 1;
  #disconnectReason = DisconnectReason.UNKNOWN_REASON;
  readonly #link: SignalLink;
  readonly #issueToken: IssueToken;
  readonly #tokenTimer: NodeJS.Timeout;

  constructor(options: {
    room: RoomSession;
    admission: Admission;
    createTransport: (options: TransportOptions) => PeerTransport;
    issueToken: IssueToken;
    logger: Logger;
  }) {
    this.#issueToken = options.issueToken;
    const { join } = options.admission;
    const profile = profileOf(options.admission);
    this.room = options.room;
    this.identity = profile.identity;
    this.kind = profile.kind;
    this.name = profile.name;
    this.permissions = profile.permissions;
    this.metadata = profile.metadata;
    this.attributes = profile.attributes;
    this.clientInfo = profile.clientInfo;
    this.logger = options.logger.child({ participant: this.identity, participantSid: this.sid });
    this.#link = new SignalLink({
      logger: this.logger,
      handle: (request) => (this.isClosed ? undefined : handleSignalRequest(this, request)),
      onExpired: () => {
        this.close(DisconnectReason.SIGNAL_CLOSE);
      },
    });
    const { batchMs = 0, closeNotify = false } = options.admission;
    this.transport = options.createTransport({ label: this.sid, batchMs, closeNotify });
    this.dynacast = new Dynacast((value) => {
      this.send({ case: 'subscribedQualityUpdate', value });
    });
    this.publishing = new Publishing({
      sid: this.sid,
      identity: this.identity,
      permissions: () => this.permissions,
      trackReady: (track) => {
        this.room.tracks.ready(this, track);
      },
      trackGone: (track) => {
        this.dynacast.forget(track.sid);
        this.room.tracks.gone(this, track);
      },
    });
    this.subscriptions = new Subscriptions({
      media: this.transport.media,
      autoSubscribe: join.connectionSettings?.autoSubscribe ?? true,
      host: subscriptionsHostOf(this),
    });
    this.data = new ParticipantData({
      sender: this,
      logger: this.logger,
      onPacket: (data) => {
        if (this.permissions.canPublishData) {
          this.room.relayData(data, this);
        }
      },
      onOverflow: () => {
        this.logger.warn('data channel overflow');
        this.close(DisconnectReason.STATE_MISMATCH, 'reconnect');
      },
    });
    this.#negotiation = new Negotiation({
      transport: this.transport,
      publishing: this.publishing,
      receiving: this.subscriptions.sections,
      keepsGop: this.kind === 'ingress',
      onUnsupportedCodec: (track) => {
        this.subscriptions.refuse(track);
        tellUnsupported(this, track);
      },
    });
    this.#watchTransport();
    this.#tokenTimer = setInterval(() => {
      this.refreshToken();
    }, TOKEN_REFRESH.intervalMs).unref();
  }

  get state(): ParticipantState {
    return this.#state;
  }

  get isClosed(): boolean {
    return this.#state === 'disconnected';
  }

  get isHidden(): boolean {
    return this.permissions.hidden;
  }

  get isDependent(): boolean {
    return isDependent(this.kind, this.permissions);
  }

  /** Why the session ended. */
  get disconnectReason(): DisconnectReason {
    return this.#disconnectReason;
  }

  info(): ParticipantInfo {
    return participantInfo(this, { version: this.#version, disconnectReason: this.#disconnectReason });
  }

  /** Clients ignore infos older than what they have: every change needs a new version. */
  changed(): ParticipantInfo {
    this.#version += 1;
    return this.info();
  }

  send(message: SignalMessage): void {
    this.#link.send(message);
  }

  /** Takes over a client's signalling: the first connection, or the one that resumes the session. */
  connect(connection: SignalConnection): void {
    this.#link.connect(connection);
  }

  /** Requests of one client run one after the other, in order. */
  enqueue(request: SignalRequestMessage): void {
    this.#link.enqueue(request);
  }

  /** The client has been sent its `join`. */
  joined(): void {
    this.#state = 'joined';
    this.#version += 1;
  }

  /** The answer to an offer; what it publishes is not shown to the room yet (publishing.flushReady). */
  negotiate(offerSdp: string): Promise<NegotiatedAnswer> {
    return this.#negotiation.answer(offerSdp);
  }

  /** Runs after everything the client sent before it. */
  async answer(offer: SessionDescription): Promise<void> {
    const { sdp, trackIdsByMid } = await this.negotiate(offer.sdp);
    if (this.isClosed) {
      return;
    }
    this.send({
      case: 'answer',
      value: new SessionDescription({ type: 'answer', sdp, id: offer.id, midToTrackId: trackIdsByMid }),
    });
    this.publishing.flushReady();
    this.#startForwarding();
    this.subscriptions.askForSections();
  }

  /** Asks the client for a new offer with the sections it has. */
  requestOffer(): void {
    this.send({ case: 'mediaSectionsRequirement', value: new MediaSectionsRequirement() });
  }

  /** Empty name and metadata mean "unchanged"; an attribute is deleted by an empty value. */
  updateText(update: { name: string; metadata: string; attributes: Record<string, string> }): void {
    this.name = update.name === '' ? this.name : update.name;
    this.metadata = update.metadata === '' ? this.metadata : update.metadata;
    this.attributes = mergeAttributes(this.attributes, update.attributes);
    this.room.participantChanged(this);
    this.refreshToken();
  }

  /** Sends a token with the current rights: the client reconnects with it when its own has expired. */
  refreshToken(): void {
    this.#issueToken(this)
      .then((token) => {
        this.send({ case: 'refreshToken', value: token });
      })
      .catch((error: unknown) => {
        this.logger.error({ err: error }, 'token not refreshed');
      });
  }

  /** Forces a published track's mute state from outside; the client is told to follow. */
  muteTrack(track: PublishedTrack, muted: boolean): void {
    if (track.muted !== muted) {
      this.send({ case: 'mute', value: new MuteTrackRequest({ sid: track.sid, muted }) });
      this.trackMuted(track, muted);
    }
  }

  /** Records a mute state and shows it to the room. */
  trackMuted(track: PublishedTrack, muted: boolean): void {
    if (track.muted === muted) {
      return;
    }
    track.info.muted = muted;
    for (const subscription of track.subscriptions) {
      subscription.refresh();
    }
    if (track.media !== undefined) {
      this.room.participantChanged(this, { skipSelf: true });
    }
  }

  /** New rights take effect at once: what is no longer allowed ends. */
  setPermissions(permissions: ParticipantPermissions): void {
    const wasRecorder = this.permissions.recorder;
    this.permissions = permissions;
    for (const track of this.publishing.notAllowed()) {
      this.send({
        case: 'trackUnpublished',
        value: new TrackUnpublishedResponse({ trackSid: track.sid }),
      });
      this.transport.media.removePublication(track.info.mid);
      this.publishing.ended(track);
    }
    this.room.tracks.reconsiderFor(this);
    if (wasRecorder !== permissions.recorder) {
      this.room.infoChanged();
    }
  }

  /**
   * Ends the session for good. `action` tells the client whether to come back; without it nothing is sent (the
   * client left by itself).
   */
  close(reason: DisconnectReason, action?: LeaveAction): void {
    if (this.isClosed) {
      return;
    }
    this.#state = 'disconnected';
    this.#disconnectReason = reason;
    clearInterval(this.#tokenTimer);
    this.logger.info({ reason: DisconnectReason[reason], action }, 'participant left');
    // A recorder that hears of the end stops listening: what waits for it goes first.
    this.transport.media.flush();
    this.#link.end(reason, action);
    this.room.removed(this);
    this.publishing.endAll();
    this.room.news.participantGone(this);
    this.subscriptions.close();
    this.dynacast.close();
    void this.transport.close(DisconnectReason[reason]);
  }

  #watchTransport(): void {
    this.transport.events.on('dataChannel', (channel) => {
      this.data.attach(channel);
    });
    this.transport.events.on('state', (state) => {
      if (this.isClosed) {
        return;
      }
      if (state === 'connected') {
        this.#becomeActive();
        this.#startForwarding();
      } else if (state === 'failed' || state === 'closed') {
        // The transport waits for an ICE restart itself; now it is over, and a client that is there starts anew.
        this.close(DisconnectReason.CONNECTION_TIMEOUT, 'reconnect');
      }
    });
  }

  #becomeActive(): void {
    if (this.#state === 'joined') {
      this.#state = 'active';
      this.logger.info('participant active');
      this.room.participantChanged(this);
      this.room.news.participantActive(this);
    }
  }

  #startForwarding(): void {
    if (this.transport.state !== 'connected') {
      return;
    }
    for (const subscription of this.subscriptions.all()) {
      if (subscription.start()) {
        this.room.tracks.subscribed(subscription.track);
      }
    }
  }
}
