/* eslint-disable @typescript-eslint/no-deprecated -- the oneof field `value` is not deprecated, only one of its cases is */
import {
  ClientConfigSetting,
  DisconnectReason,
  LeaveRequest,
  LeaveRequest_Action,
  ReconnectReason,
  SignalTarget,
  TrickleRequest,
  type JoinResponse,
  type SyncState,
} from '@livekit/protocol';
import { ServiceError } from '../base/errors.ts';
import type { LocalMedia } from '../media/rtp/local-media.ts';
import type { Logger } from '../base/logger.ts';
import { withDeadline } from './deadline.ts';
import { localCertificate } from './dtls-session.ts';
import { MediaPeer, type PeerDescriptions } from './media-peer.ts';
import type { SignalConnection, SignalRequestMessage, SignalResponseMessage } from './signal-connection.ts';
import { LeaveError, openSignal } from './signal-open.ts';

export type RoomLinkOptions = {
  url: string;
  token: string;
  autoSubscribe: boolean;
  timeoutMs: number;
  logger: Logger;
  localMedia?: LocalMedia;
  mediaBatchMs: number;
  receivesEveryCodec: boolean;
  /** A session was opened; called before any of its messages. */
  onJoined: (join: JoinResponse) => void;
  onMessage: (message: SignalResponseMessage) => void;
  onSignalLost: (reason: string) => void;
  onTransportLost: (reason: string) => void;
  onData: (data: Uint8Array) => void;
  onReceiveSections: () => void;
  /** What the server is told when it takes a session up again. */
  syncState: (descriptions: PeerDescriptions) => SyncState;
};

/** Receiving sections in the first offer: more are added when the server asks, at the price of a round trip. */
const RECEIVE_SECTIONS = { auto: { audio: 3, video: 3 }, onDemand: { audio: 1, video: 1 } } as const;

/**
 * The signalling connection and the peer connection of a session, and the ways to get them: join, resume, restart.
 * Whoever calls decides which and when (connection-machine.ts).
 */
export class RoomLink {
  readonly #options: RoomLinkOptions;
  #token: string;
  #participantSid = '';
  #signal: SignalConnection | undefined;
  #peer: MediaPeer | undefined;

  constructor(options: RoomLinkOptions) {
    this.#options = options;
    this.#token = options.token;
  }

  get peer(): MediaPeer | undefined {
    return this.#peer;
  }

  /** The server renews tokens of long sessions; the latest one is for reconnecting. */
  set token(token: string) {
    this.#token = token;
  }

  /** Dropped while there is no signalling connection. */
  send(message: SignalRequestMessage): void {
    this.#signal?.send(message);
  }

  sendLeave(): void {
    this.send({
      case: 'leave',
      value: new LeaveRequest({
        reason: DisconnectReason.CLIENT_INITIATED,
        action: LeaveRequest_Action.DISCONNECT,
      }),
    });
  }

  /** A new session, up to connected media. @throws ServiceError as connectRoom does. */
  async join(signal: AbortSignal): Promise<void> {
    const { logger, autoSubscribe, timeoutMs, mediaBatchMs } = this.#options;
    const peer = this.#createPeer(await localCertificate());
    let connection: SignalConnection | undefined;
    try {
      const opened = await openSignal({
        url: this.#options.url,
        token: this.#token,
        autoSubscribe,
        mediaBatchMs,
        intent: { type: 'join', offer: peer.initialOffer() },
        signal,
        timeoutMs,
        logger,
      });
      connection = opened.connection;
      if (opened.first.type !== 'join') {
        throw new ServiceError('unavailable', 'the server resumed a session instead of opening one');
      }
      const join = opened.first.response;
      signal.throwIfAborted();
      this.#peer = peer;
      this.#signal = connection;
      this.#participantSid = join.participant?.sid ?? '';
      await peer.gather(
        join.iceServers.map(({ urls, username, credential }) => ({ urls, username, credential })),
        join.clientConfiguration?.forceRelay === ClientConfigSetting.ENABLED,
      );
      this.#options.onJoined(join);
      this.#listen(connection);
      await withDeadline(peer.connected(), {
        signal,
        timeoutMs,
        message: `media did not connect within ${timeoutMs} ms`,
      });
    } catch (error) {
      // A later attempt may already have put its own in place.
      this.#peer = this.#peer === peer ? undefined : this.#peer;
      this.#signal = this.#signal === connection ? undefined : this.#signal;
      await connection?.close();
      await peer.close('could not connect');
      throw signal.aborted ? new ServiceError('canceled', 'connecting was cancelled') : error;
    }
  }

  /** The same session over a new WebSocket, with an ICE restart. LeaveError when only a new session can help. */
  async resume(signal: AbortSignal): Promise<void> {
    const { url, autoSubscribe, timeoutMs, mediaBatchMs, logger } = this.#options;
    const peer = this.#peer;
    if (peer?.isConnected !== true) {
      throw new LeaveError(LeaveRequest_Action.RECONNECT, DisconnectReason.STATE_MISMATCH);
    }
    await this.#dropSignal();
    const { connection } = await openSignal({
      url,
      token: this.#token,
      autoSubscribe,
      mediaBatchMs,
      intent: {
        type: 'resume',
        participantSid: this.#participantSid,
        reason: ReconnectReason.RR_SIGNAL_DISCONNECTED,
      },
      signal,
      timeoutMs,
      logger,
    });
    if (signal.aborted) {
      await connection.close();
      throw new ServiceError('canceled', 'reconnecting was cancelled');
    }
    this.#signal = connection;
    connection.send({ case: 'syncState', value: this.#options.syncState(peer.descriptions) });
    this.#listen(connection);
    try {
      await withDeadline(peer.restartIce(), {
        signal,
        timeoutMs,
        message: `the ICE restart took longer than ${timeoutMs} ms`,
      });
    } catch (error) {
      throw new LeaveError(LeaveRequest_Action.RECONNECT, DisconnectReason.CONNECTION_TIMEOUT, error);
    }
  }

  /** Leaves the old session and joins anew. */
  async restart(signal: AbortSignal): Promise<void> {
    this.sendLeave();
    await this.close('reconnecting');
    await this.join(signal);
  }

  async close(cause: string): Promise<void> {
    const peer = this.#peer;
    this.#peer = undefined;
    await Promise.all([this.#dropSignal(), peer?.close(cause)]);
  }

  async #dropSignal(): Promise<void> {
    const connection = this.#signal;
    this.#signal = undefined;
    await connection?.close();
  }

  #createPeer(certificate: Awaited<ReturnType<typeof localCertificate>>): MediaPeer {
    const { url, autoSubscribe, logger, localMedia, mediaBatchMs } = this.#options;
    const peer: MediaPeer = new MediaPeer({
      logger,
      certificate,
      loopback: isLoopback(url),
      ...(localMedia === undefined ? {} : { localMedia: localMedia }),
      mediaBatchMs,
      receivesEveryCodec: this.#options.receivesEveryCodec,
      receiveSections: autoSubscribe ? RECEIVE_SECTIONS.auto : RECEIVE_SECTIONS.onDemand,
      sendOffer: (offer) => this.send({ case: 'offer', value: offer }),
      sendCandidate: (candidate) => this.send({ case: 'trickle', value: trickle(candidate) }),
      onData: (_label, data) => this.#options.onData(data),
      onReceiveSections: () => this.#options.onReceiveSections(),
      onFailed: (reason) => {
        if (this.#peer === peer) {
          this.#options.onTransportLost(reason);
        }
      },
    });
    return peer;
  }

  #listen(connection: SignalConnection): void {
    connection.start(
      (message) => {
        if (this.#signal === connection) {
          this.#options.onMessage(message);
        }
      },
      (reason) => {
        if (this.#signal === connection) {
          this.#options.onSignalLost(reason);
        }
      },
    );
  }
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
