import { AddTrackRequest, DisconnectReason, JoinRequest, TrackType, VideoLayer } from '@livekit/protocol';
import { ServiceError } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import type { TokenClaims } from '../../model/grants.ts';
import { mayPublishSource, permissionsFromGrant } from '../../model/participant.ts';
import { layersByRid } from '../../model/track.ts';
import { parseSdpFragment, writeSdpFragment } from '../../protocol/sdp-fragment.ts';
import type { TrackHints } from '../../protocol/whip.ts';
import type { ParticipantSession } from '../participant-session.ts';
import { QUALITIES } from '../published-track.ts';
import type { RoomSession } from '../room-session.ts';
import { sourceToWire } from '../wire-convert.ts';
import { WhipMonitor, type WhipReport } from './whip-monitor.ts';
import { parseWhipOffer, type WhipOffer, type WhipSection } from './whip-offer.ts';

export type WhipSessionOptions = {
  /** Called once the offer has been found good, so that a bad one makes no room. */
  room: () => RoomSession;
  claims: TokenClaims;
  offerSdp: string;
  hints: TrackHints;
  logger: Logger;
  /** What an ingress wants to know; called when something changes and every few seconds. */
  onReport: (report: WhipReport) => void;
  /** Once, after the last report. */
  onClosed: () => void;
};

const SHA_256 = 'SHA-256 ';

/** `"…"`, as If-Match and ETag write it. */
export type EntityTag = string;
export type PatchOutcome = { kind: 'trickled' } | { kind: 'restarted'; fragment: string; etag: EntityTag };

/**
 * One encoder that publishes by WHIP: a participant of the room whose signalling is an HTTP exchange. Its media comes
 * to the same transport, and leaves by the same forwarders, as everybody else's.
 */
export class WhipSession {
  readonly answerSdp: string;
  readonly participant: ParticipantSession;
  readonly #offer: WhipOffer;
  readonly #options: WhipSessionOptions;
  readonly #monitor: WhipMonitor;
  #remoteUfrag: string;
  #wasConnected = false;
  #ended = false;

  /** @throws ServiceError as parseWhipOffer; permission_denied without canPublish; resource_exhausted: room full. */
  static async open(options: WhipSessionOptions): Promise<WhipSession> {
    const offer = parseWhipOffer(options.offerSdp);
    checkPermission(options.claims, offer, options.hints);
    const participant = options.room().join(
      {
        claims: options.claims,
        join: new JoinRequest({ connectionSettings: { autoSubscribe: false } }),
        batchMs: 0,
        closeNotify: true,
      },
      undefined,
    );
    try {
      for (const section of offer.sections) {
        participant.publishing.announce(announcement(section, options.hints));
      }
      const { sdp } = await participant.negotiate(options.offerSdp);
      return new WhipSession(options, participant, offer, sdp);
    } catch (error) {
      participant.close(DisconnectReason.JOIN_FAILURE);
      throw error;
    }
  }

  private constructor(
    options: WhipSessionOptions,
    participant: ParticipantSession,
    offer: WhipOffer,
    answerSdp: string,
  ) {
    this.#options = options;
    this.participant = participant;
    this.#offer = offer;
    this.answerSdp = answerSdp;
    this.#remoteUfrag = offer.description.iceUfrag;
    this.#monitor = new WhipMonitor(participant, options.onReport);
    participant.transport.events.on('state', (state) => {
      if (state === 'connected') {
        this.#onConnected();
      } else if (state === 'failed' || state === 'closed') {
        this.#onEnded();
      }
    });
  }

  get id(): string {
    return this.participant.sid;
  }

  /** Changes with every ICE restart. */
  get etag(): EntityTag {
    return `"${this.participant.transport.localUfrag}"`;
  }

  /**
   * A trickled candidate or an ICE restart (RFC 9725 section 4.3). As an ICE-lite agent we learn addresses from the
   * checks, so candidates are only read to be sure that they are some.
   * @throws ServiceError 428 without If-Match, 412 for another tag, 400 and 422 for the body. The session lives on.
   */
  async patch(ifMatch: string | undefined, body: string): Promise<PatchOutcome> {
    if (ifMatch === undefined) {
      throw refuse(428, 'PATCH needs If-Match: the ETag of the session, or * to restart ICE');
    }
    const restart = ifMatch.trim() === '*';
    if (!restart && !ifMatch.split(',').some((tag) => tag.trim() === this.etag)) {
      throw refuse(412, 'If-Match is not the ETag of the current ICE session');
    }
    const { iceUfrag, icePwd, fingerprint } = parseSdpFragment(body);
    if (fingerprint.startsWith(SHA_256) && fingerprint !== SHA_256 + this.#offer.description.fingerprint) {
      throw refuse(
        422,
        'another a=fingerprint: new DTLS keys need a new session, so DELETE this one and POST again',
      );
    }
    if (!restart) {
      if (iceUfrag !== '' && iceUfrag !== this.#remoteUfrag) {
        throw refuse(422, 'another ice-ufrag is an ICE restart: send it with If-Match: *');
      }
      return { kind: 'trickled' };
    }
    if (iceUfrag === '' || icePwd === '') {
      throw refuse(400, 'an ICE restart needs a=ice-ufrag and a=ice-pwd');
    }
    if (iceUfrag === this.#remoteUfrag) {
      throw refuse(400, 'an ICE restart needs a new a=ice-ufrag');
    }
    return this.#restart(iceUfrag);
  }

  /** The encoder, or whoever acts for it, ends the session. */
  close(): void {
    this.participant.close(DisconnectReason.CLIENT_INITIATED);
  }

  async #restart(iceUfrag: string): Promise<PatchOutcome> {
    const { transport } = this.participant;
    await transport.setRemote({ ufrag: iceUfrag, fingerprint: this.#offer.description.fingerprint });
    this.#remoteUfrag = iceUfrag;
    const fragment = writeSdpFragment({
      iceUfrag: transport.localUfrag,
      icePwd: transport.localPwd,
      candidates: transport.candidates,
      sections: this.#offer.sections,
    });
    return { kind: 'restarted', fragment, etag: this.etag };
  }

  #onConnected(): void {
    this.#wasConnected = true;
    this.participant.publishing.flushReady();
    this.#monitor.start();
  }

  #onEnded(): void {
    if (this.#ended) {
      return;
    }
    this.#ended = true;
    this.#monitor.end(this.#failure());
    this.#options.onClosed();
  }

  /** Text for the ingress record; '' when the encoder ended, by DELETE or by falling silent. */
  #failure(): string {
    const { transport, disconnectReason } = this.participant;
    if (disconnectReason === DisconnectReason.CLIENT_INITIATED) {
      return '';
    }
    if (transport.failure !== undefined) {
      return this.#wasConnected ? '' : transport.failure.message;
    }
    return 'room disconnected';
  }
}

function checkPermission(claims: TokenClaims, { sections }: WhipOffer, hints: TrackHints): void {
  const permissions = permissionsFromGrant(claims.video);
  for (const { kind } of sections) {
    if (!mayPublishSource(permissions, hints[kind].source)) {
      throw new ServiceError('permission_denied', `not allowed to publish source ${hints[kind].source}`);
    }
  }
}

function announcement({ kind, sendRids }: WhipSection, hints: TrackHints): AddTrackRequest {
  const { name, source } = hints[kind];
  return new AddTrackRequest({
    cid: `whip-${kind}`,
    type: kind === 'audio' ? TrackType.AUDIO : TrackType.VIDEO,
    name,
    source: sourceToWire(source),
    layers:
      sendRids.length > 1
        ? [...new Set(layersByRid(sendRids).values())]
            .sort()
            .map((layer) => new VideoLayer({ quality: QUALITIES[layer] }))
        : [],
  });
}

function refuse(httpStatus: number, message: string): ServiceError {
  return new ServiceError('failed_precondition', message, { httpStatus });
}
