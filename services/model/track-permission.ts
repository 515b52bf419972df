/** Who may subscribe to one publisher's tracks (LiveKit's SubscriptionPermission). */
export type TrackPermissionRule = {
  participantSid: string;
  participantIdentity: string;
  allTracks: boolean;
  trackSids: readonly string[];
};

export type TrackPermissionPolicy =
  { allow: 'everybody' } | { allow: 'listed'; rules: readonly TrackPermissionRule[] };

export const EVERYBODY: TrackPermissionPolicy = { allow: 'everybody' };

/** Whether `subscriber` may receive `trackSid` under the publisher's policy. Unlisted means no. */
export function policyAllows(
  policy: TrackPermissionPolicy,
  subscriber: { sid: string; identity: string },
  trackSid: string,
): boolean {
  if (policy.allow === 'everybody') {
    return true;
  }
  return policy.rules.some(
    (rule) =>
      (rule.participantIdentity === ''
        ? rule.participantSid === subscriber.sid
        : rule.participantIdentity === subscriber.identity) &&
      (rule.allTracks || rule.trackSids.includes(trackSid)),
  );
}
