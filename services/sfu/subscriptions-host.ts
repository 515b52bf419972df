import {
  MediaSectionsRequirement,
  SubscriptionError,
  SubscriptionPermissionUpdate,
  SubscriptionResponse,
} from '@livekit/protocol';
import { policyAllows } from '../model/track-permission.ts';
import type { ParticipantSession } from './participant-session.ts';
import type { PublishedTrack } from './published-track.ts';
import type { SubscriptionsHost } from './subscriptions.ts';

/** What a participant's subscriptions learn from the room, and what they make the client hear. */
export function subscriptionsHostOf(participant: ParticipantSession): SubscriptionsHost {
  const { tracks } = participant.room;
  return {
    findTrack: (trackSid) => tracks.visible(trackSid, participant),
    mayReceive: (track) =>
      participant.permissions.canSubscribe && policyAllows(tracks.policyOf(track), participant, track.sid),
    requireSections: ({ audio, video }) => {
      const value = new MediaSectionsRequirement({ numAudios: audio, numVideos: video });
      participant.send({ case: 'mediaSectionsRequirement', value });
    },
    demandChanged: (track) => {
      tracks.demandChanged(track);
    },
    permissionChanged: (track, allowed) => {
      const value = new SubscriptionPermissionUpdate({
        participantSid: track.publisherSid,
        trackSid: track.sid,
        allowed,
      });
      participant.send({ case: 'subscriptionPermissionUpdate', value });
    },
  };
}

/** The client's offer has no codec for this track. */
export function tellUnsupported(participant: ParticipantSession, track: PublishedTrack): void {
  const value = new SubscriptionResponse({
    trackSid: track.sid,
    err: SubscriptionError.SE_CODEC_UNSUPPORTED,
  });
  participant.send({ case: 'subscriptionResponse', value });
}
