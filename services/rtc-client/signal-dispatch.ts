import { DisconnectReason, LeaveRequest_Action, type ParticipantInfo } from '@livekit/protocol';
import type { Logger } from '../base/logger.ts';
import type { LocalTracks } from './local-tracks.ts';
import type { MediaPeer } from './media-peer.ts';
import type { RemoteTracks } from './remote-tracks.ts';
import type { SignalResponseMessage } from './signal-connection.ts';

export type SignalHandlers = {
  logger: Logger;
  peer: MediaPeer | undefined;
  local: LocalTracks;
  remote: RemoteTracks;
  onParticipants: (infos: readonly ParticipantInfo[]) => void;
  onToken: (token: string) => void;
  onLeave: (action: 'disconnect' | 'resume' | 'reconnect', reason: string) => void;
  maxAddedSections: number;
};

const LEAVE_ACTIONS = {
  [LeaveRequest_Action.DISCONNECT]: 'disconnect',
  [LeaveRequest_Action.RESUME]: 'resume',
  [LeaveRequest_Action.RECONNECT]: 'reconnect',
} as const;

/** Hands one message of an established session to whom it concerns. What this client has no use for is ignored. */
export function dispatchSignal(message: SignalResponseMessage, handlers: SignalHandlers): void {
  const { peer, local, remote } = handlers;
  switch (message.case) {
    case 'answer':
      try {
        peer?.applyAnswer(message.value);
      } catch (error) {
        handlers.logger.error({ err: error }, 'the answer of the server cannot be used');
      }
      break;
    case 'trickle': {
      const candidate = candidateOf(message.value.candidateInit);
      void peer?.addRemoteCandidate(candidate);
      break;
    }
    case 'mediaSectionsRequirement': {
      const limit = (count: number): number => Math.min(count, handlers.maxAddedSections);
      peer?.addReceiveSections({
        audio: limit(message.value.numAudios),
        video: limit(message.value.numVideos),
      });
      break;
    }
    case 'update':
      handlers.onParticipants(message.value.participants);
      break;
    case 'trackPublished':
      local.onPublished(message.value);
      break;
    case 'trackUnpublished':
      local.onServerUnpublish(message.value.trackSid);
      break;
    case 'mute':
      local.onServerMute(message.value.sid, message.value.muted);
      break;
    case 'subscribedQualityUpdate':
      local.onQualities(message.value);
      break;
    case 'requestResponse':
      local.onRequestResponse(message.value);
      break;
    case 'subscriptionResponse':
      remote.onSubscriptionResponse(message.value);
      break;
    case 'subscriptionPermissionUpdate':
      remote.onPermission(message.value.trackSid, message.value.allowed);
      break;
    case 'refreshToken':
      handlers.onToken(message.value);
      break;
    case 'leave':
      handlers.onLeave(LEAVE_ACTIONS[message.value.action], DisconnectReason[message.value.reason]);
      break;
    default:
      break;
  }
}

function candidateOf(candidateInit: string): string {
  try {
    const { candidate } = JSON.parse(candidateInit) as { candidate?: unknown };
    return typeof candidate === 'string' ? candidate : '';
  } catch {
    return '';
  }
}
