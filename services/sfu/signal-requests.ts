/* eslint-disable @typescript-eslint/no-deprecated -- clients in the field still read and write these fields */
import {
  DisconnectReason,
  Pong,
  RequestResponse,
  RequestResponse_Reason,
  TrackPublishedResponse,
  type AddTrackRequest,
  type SubscriptionPermission,
  type SyncState,
  type UpdateParticipantMetadata,
  type UpdateSubscription,
} from '@livekit/protocol';
import { ServiceError, type ErrorCode } from '../base/errors.ts';
import { participantTextProblem } from '../model/participant.ts';
import { EVERYBODY } from '../model/track-permission.ts';
import type { SignalRequestMessage } from '../protocol/signal.ts';
import type { ParticipantSession } from './participant-session.ts';

type RequestCase = NonNullable<SignalRequestMessage['case']>;
type RequestValue<Case extends RequestCase> = Extract<SignalRequestMessage, { case: Case }>['value'];
type Handlers = {
  [Case in RequestCase]?: (
    participant: ParticipantSession,
    value: RequestValue<Case>,
  ) => void | Promise<void>;
};

const REASON_BY_CODE: Partial<Record<ErrorCode, RequestResponse_Reason>> = {
  permission_denied: RequestResponse_Reason.NOT_ALLOWED,
  not_found: RequestResponse_Reason.NOT_FOUND,
  resource_exhausted: RequestResponse_Reason.LIMIT_EXCEEDED,
  unimplemented: RequestResponse_Reason.UNSUPPORTED_TYPE,
  invalid_argument: RequestResponse_Reason.INVALID_REQUEST,
};

/** What each client request does. A request that is not here is answered "not supported" when it can be. */
const HANDLERS: Handlers = {
  offer: (participant, offer) => participant.answer(offer),
  addTrack,
  mute: (participant, { sid, muted }) => {
    const track = participant.publishing.find(sid);
    if (track !== undefined) {
      participant.trackMuted(track, muted);
    }
  },
  subscription: applySubscription,
  trackSetting: (participant, settings) => {
    participant.subscriptions.configure(settings.trackSids, settings);
  },
  leave: (participant, { reason }) => {
    participant.close(
      reason === DisconnectReason.UNKNOWN_REASON ? DisconnectReason.CLIENT_INITIATED : reason,
    );
  },
  subscriptionPermission: applySubscriptionPermission,
  syncState: applySyncState,
  updateMetadata,
  ping: (participant) => {
    participant.send({ case: 'pong', value: BigInt(Date.now()) });
  },
  pingReq: (participant, { timestamp }) => {
    participant.send({
      case: 'pongResp',
      value: new Pong({ lastPingTimestamp: timestamp, timestamp: BigInt(Date.now()) }),
    });
  },
  updateAudioTrack: (participant, { trackSid, features }) => {
    const track = participant.publishing.find(trackSid);
    if (track?.kind === 'audio') {
      track.info.audioFeatures = features;
      participant.room.participantChanged(participant);
    }
  },
  updateVideoTrack: (participant, { trackSid, width, height }) => {
    const track = participant.publishing.find(trackSid);
    if (track?.kind === 'video') {
      track.info.width = width;
      track.info.height = height;
      participant.room.participantChanged(participant);
    }
  },
  updateLayers: (participant, { trackSid, layers }) => {
    const track = participant.publishing.find(trackSid);
    if (track?.kind === 'video') {
      track.info.layers = layers;
      participant.room.participantChanged(participant);
    }
  },
  simulate: (participant, { scenario }) => {
    // The scenarios that client test suites drive; the rest happen on the client alone.
    if (scenario.case === 'nodeFailure' || scenario.case === 'leaveRequestFullReconnect') {
      participant.close(DisconnectReason.UNKNOWN_REASON, 'reconnect');
    } else if (scenario.case === 'serverLeave') {
      participant.close(DisconnectReason.SERVER_SHUTDOWN, 'disconnect');
    }
  },
  // Candidates: ICE-lite learns peers from their checks. Answers belong to two peer connections.
  trickle: () => undefined,
  answer: () => undefined,
  publishDataTrackRequest: (participant, value) => {
    respond(participant, unsupported('data tracks'), 0, { case: 'publishDataTrack', value });
  },
  unpublishDataTrackRequest: (participant, value) => {
    respond(participant, unsupported('data tracks'), 0, { case: 'unpublishDataTrack', value });
  },
  storeDataBlobRequest: (participant, { requestId }) => {
    respond(participant, unsupported('data blobs'), requestId);
  },
  getDataBlobRequest: (participant, { requestId }) => {
    respond(participant, unsupported('data blobs'), requestId);
  },
};

/** Runs one request. A refused one is answered with requestResponse and changes nothing. */
export async function handleSignalRequest(
  participant: ParticipantSession,
  request: SignalRequestMessage,
): Promise<void> {
  if (request.case === undefined) {
    return;
  }
  const handler = HANDLERS[request.case] as
    ((participant: ParticipantSession, value: unknown) => void | Promise<void>) | undefined;
  try {
    await handler?.(participant, request.value);
  } catch (error) {
    const failure = ServiceError.from(error);
    participant.logger.warn({ err: failure, request: request.case }, 'signal request refused');
    respond(participant, failure, 0, echo(request));
  }
}

function unsupported(what: string): ServiceError {
  return new ServiceError('unimplemented', `${what} are not supported by this server`);
}

function echo(request: SignalRequestMessage): RequestResponse['request'] {
  switch (request.case) {
    case 'addTrack':
      return { case: 'addTrack', value: request.value };
    case 'mute':
      return { case: 'mute', value: request.value };
    case 'trickle':
      return { case: 'trickle', value: request.value };
    default:
      return { case: undefined };
  }
}

function respond(
  participant: ParticipantSession,
  error: ServiceError | undefined,
  requestId: number,
  request: RequestResponse['request'] = { case: undefined },
): void {
  const reason =
    error === undefined
      ? RequestResponse_Reason.OK
      : (REASON_BY_CODE[error.code] ?? RequestResponse_Reason.UNCLASSIFIED_ERROR);
  participant.send({
    case: 'requestResponse',
    value: new RequestResponse({ requestId, reason, message: error?.message ?? '', request }),
  });
}

function addTrack(participant: ParticipantSession, request: AddTrackRequest): void {
  const { track, alreadyOffered } = participant.publishing.announce(request);
  participant.send({
    case: 'trackPublished',
    value: new TrackPublishedResponse({ cid: request.cid, track: track.info }),
  });
  if (alreadyOffered) {
    participant.requestOffer();
  }
}

function applySubscription(participant: ParticipantSession, update: UpdateSubscription): void {
  const sids = [...update.trackSids, ...update.participantTracks.flatMap((tracks) => tracks.trackSids)];
  participant.subscriptions.choose(sids, update.subscribe);
}

function applySubscriptionPermission(
  participant: ParticipantSession,
  permission: SubscriptionPermission,
): void {
  participant.trackPermissions = permission.allParticipants
    ? EVERYBODY
    : {
        allow: 'listed',
        rules: permission.trackPermissions.map((rule) => ({
          participantSid: rule.participantSid,
          participantIdentity: rule.participantIdentity,
          allTracks: rule.allTracks,
          trackSids: rule.trackSids,
        })),
      };
  participant.room.tracks.policyChanged(participant);
}

/** What the client believes after a resume: its explicit subscriptions and what it switched off. */
function applySyncState(participant: ParticipantSession, state: SyncState): void {
  if (state.subscription !== undefined) {
    applySubscription(participant, state.subscription);
  }
  const disabled = new Set(state.trackSidsDisabled);
  for (const subscription of participant.subscriptions.all()) {
    if (disabled.has(subscription.track.sid) && subscription.wantedLayer >= 0) {
      participant.subscriptions.configure([subscription.track.sid], {
        disabled: true,
        quality: 0,
        width: 0,
        height: 0,
      });
    }
  }
}

function updateMetadata(participant: ParticipantSession, update: UpdateParticipantMetadata): void {
  const problem = participantTextProblem(update);
  if (!participant.permissions.canUpdateMetadata) {
    const denied = new ServiceError('permission_denied', 'does not have permission to update own metadata');
    respond(participant, denied, update.requestId, { case: 'updateMetadata', value: update });
    return;
  }
  if (problem !== undefined) {
    const tooLarge = new ServiceError('resource_exhausted', problem);
    respond(participant, tooLarge, update.requestId, { case: 'updateMetadata', value: update });
    return;
  }
  participant.updateText(update);
  respond(participant, undefined, update.requestId, { case: 'updateMetadata', value: update });
}
