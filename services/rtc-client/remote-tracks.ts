/* eslint-disable @typescript-eslint/no-deprecated -- the oneof field `value` is not deprecated, only one of its cases is */
import {
  ParticipantTracks,
  SubscriptionError,
  UpdateSubscription,
  UpdateTrackSettings,
  VideoQuality,
  type SubscriptionResponse,
} from '@livekit/protocol';
import { ServiceError } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import { codecBySdpName } from './codec-offer.ts';
import type { MediaPeer } from './media-peer.ts';
import type { ReceiveSection } from './media-sections.ts';
import type { RemoteTrack } from './room-client-types.ts';
import type { SignalRequestMessage } from './signal-connection.ts';
import { LocalSubscription } from './track-subscription.ts';

const SUBSCRIBE_TIMEOUT_MS = 10_000;

type Pending = { resolve: () => void; reject: (error: Error) => void };

/** Everything this client receives. */
export class RemoteTracks {
  /** JoinResponse.sif_trailer. */
  serverFrameTrailer: Uint8Array = new Uint8Array(0);
  readonly #subscriptions = new Map<string, LocalSubscription>();
  readonly #pending = new Map<string, Pending>();
  readonly #autoSubscribe: boolean;
  readonly #send: (message: SignalRequestMessage) => void;
  readonly #peer: () => MediaPeer | undefined;
  readonly #logger: Logger;

  constructor(options: {
    autoSubscribe: boolean;
    send: (message: SignalRequestMessage) => void;
    peer: () => MediaPeer | undefined;
    logger: Logger;
  }) {
    this.#autoSubscribe = options.autoSubscribe;
    this.#send = options.send;
    this.#peer = options.peer;
    this.#logger = options.logger;
  }

  /** For syncState: what differs from the default the session was opened with. */
  subscriptionState(): UpdateSubscription {
    return new UpdateSubscription({
      trackSids: this.#autoSubscribe ? [] : [...this.#subscriptions.keys()],
      subscribe: !this.#autoSubscribe,
    });
  }

  /** @throws ServiceError unimplemented | permission_denied | not_found | deadline_exceeded | aborted. */
  async subscribe(track: RemoteTrack): Promise<LocalSubscription> {
    const existing = this.#subscriptions.get(track.trackSid);
    if (existing !== undefined) {
      return existing;
    }
    const subscription = new LocalSubscription(
      track,
      { unsubscribe: (ended) => this.#unsubscribe(ended) },
      this.#logger,
    );
    this.#subscriptions.set(track.trackSid, subscription);
    try {
      const seated = this.#awaitSection(track.trackSid);
      this.#request(track.trackSid);
      this.matchSections();
      await seated;
    } catch (error) {
      this.#subscriptions.delete(track.trackSid);
      subscription.end('could not be subscribed');
      throw error;
    } finally {
      this.#pending.delete(track.trackSid);
    }
    return subscription;
  }

  /** After a restart the server knows nothing of our subscriptions. */
  resubscribe(): void {
    for (const [trackSid, subscription] of this.#subscriptions) {
      subscription.detach();
      this.#request(trackSid);
    }
    this.matchSections();
  }

  /** The receiving sections of the peer connection changed: seats subscriptions on theirs. */
  matchSections(): void {
    const peer = this.#peer();
    if (peer === undefined) {
      return;
    }
    const sections = new Map(peer.receiveSections().map((section) => [section.trackSid, section]));
    // First all that leave a section, then all that enter one: sections are used again.
    for (const [trackSid, subscription] of this.#subscriptions) {
      const { section } = subscription;
      const next = sections.get(trackSid);
      if (section !== undefined && (next?.mid !== section.mid || next.ssrc !== section.ssrc)) {
        peer.stopReceiving(section.mid);
        subscription.detach();
      }
    }
    for (const [trackSid, subscription] of this.#subscriptions) {
      const section = sections.get(trackSid);
      if (section !== undefined && subscription.section === undefined && !subscription.hasEnded) {
        this.#attach(peer, subscription, section);
      }
    }
  }

  onUnpublished(track: RemoteTrack): void {
    const subscription = this.#subscriptions.get(track.trackSid);
    this.#reject(track.trackSid, new ServiceError('not_found', 'the track was unpublished'));
    if (subscription !== undefined) {
      this.#release(subscription);
      subscription.end('the track was unpublished');
    }
  }

  onMuted(track: RemoteTrack, muted: boolean): void {
    this.#subscriptions.get(track.trackSid)?.events.emit('muted', muted);
  }

  onSubscriptionResponse(response: SubscriptionResponse): void {
    const error = {
      [SubscriptionError.SE_UNKNOWN]: new ServiceError('unknown', 'the server could not subscribe us'),
      [SubscriptionError.SE_CODEC_UNSUPPORTED]: new ServiceError(
        'unimplemented',
        'the server has the track in no codec we receive',
      ),
      [SubscriptionError.SE_TRACK_NOTFOUND]: new ServiceError('not_found', 'the server has no such track'),
    }[response.err];
    this.#reject(response.trackSid, error);
  }

  onPermission(trackSid: string, allowed: boolean): void {
    if (!allowed) {
      this.#reject(
        trackSid,
        new ServiceError('permission_denied', 'the publisher does not let us subscribe to the track'),
      );
    }
  }

  close(cause: string): void {
    for (const { reject } of [...this.#pending.values()]) {
      reject(new ServiceError('aborted', `subscribing was interrupted: ${cause}`));
    }
    for (const subscription of this.#subscriptions.values()) {
      subscription.end(cause);
    }
    this.#subscriptions.clear();
  }

  #attach(peer: MediaPeer, subscription: LocalSubscription, section: ReceiveSection): void {
    const { track } = subscription;
    const known = section.codecs.filter((candidate) => codecBySdpName(candidate.name) !== undefined);
    const sdpCodec = known.find((candidate) => codecBySdpName(candidate.name) === track.codec) ?? known[0];
    const codec = sdpCodec === undefined ? undefined : codecBySdpName(sdpCodec.name);
    if (sdpCodec === undefined || codec === undefined) {
      this.#reject(
        track.trackSid,
        new ServiceError('unimplemented', `receiving ${track.codec} over RTP is not supported`),
      );
      return;
    }
    const stream = peer.receive(section, sdpCodec, {
      kind: track.kind,
      codec,
      clockKey: track.participantSid,
      serverFrameTrailer: this.serverFrameTrailer,
      onFrame: (frame) => subscription.onFrame(frame),
      onLost: (packets) => subscription.onLost(packets),
    });
    subscription.attach(section, stream, codec);
    this.#pending.get(track.trackSid)?.resolve();
  }

  #request(trackSid: string): void {
    if (!this.#autoSubscribe) {
      this.#send({ case: 'subscription', value: updateSubscription(trackSid, true) });
    }
    // The best layer: what is recorded cannot be made better afterwards.
    this.#send({
      case: 'trackSetting',
      value: new UpdateTrackSettings({ trackSids: [trackSid], disabled: false, quality: VideoQuality.HIGH }),
    });
  }

  #awaitSection(trackSid: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(
          new ServiceError(
            'deadline_exceeded',
            `the server did not send the track within ${SUBSCRIBE_TIMEOUT_MS} ms`,
          ),
        );
      }, SUBSCRIBE_TIMEOUT_MS);
      this.#pending.set(trackSid, {
        resolve: () => {
          clearTimeout(timer);
          resolve();
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      });
    });
  }

  #reject(trackSid: string, error: Error): void {
    this.#pending.get(trackSid)?.reject(error);
  }

  #release(subscription: LocalSubscription): void {
    this.#subscriptions.delete(subscription.track.trackSid);
    if (subscription.section !== undefined) {
      this.#peer()?.stopReceiving(subscription.section.mid);
    }
  }

  #unsubscribe(subscription: LocalSubscription): Promise<void> {
    this.#release(subscription);
    this.#send({ case: 'subscription', value: updateSubscription(subscription.track.trackSid, false) });
    return Promise.resolve();
  }
}

function updateSubscription(trackSid: string, subscribe: boolean): UpdateSubscription {
  return new UpdateSubscription({
    trackSids: [trackSid],
    subscribe,
    participantTracks: [new ParticipantTracks({ participantSid: '', trackSids: [trackSid] })],
  });
}
