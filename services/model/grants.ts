/** The `video` claim of a LiveKit token, field names as on the wire. */
export type VideoGrant = {
  roomCreate?: boolean;
  roomList?: boolean;
  roomRecord?: boolean;
  roomAdmin?: boolean;
  roomJoin?: boolean;
  room?: string;
  destinationRoom?: string;
  canPublish?: boolean;
  canSubscribe?: boolean;
  canPublishData?: boolean;
  /** camera, microphone, screen_share, screen_share_audio; empty = all. */
  canPublishSources?: string[];
  canUpdateOwnMetadata?: boolean;
  ingressAdmin?: boolean;
  hidden?: boolean;
  recorder?: boolean;
  agent?: boolean;
  canSubscribeMetrics?: boolean;
};

export type TokenClaims = {
  identity: string;
  name: string;
  metadata: string;
  kind: string;
  attributes: Record<string, string>;
  video: VideoGrant;
  /** Webhook body hash. */
  sha256?: string;
  expiresAtS: number;
};

/** canPublish, canSubscribe and canPublishData default to true when the grant leaves them out. */
export function grantAllows(
  grant: VideoGrant,
  right: 'canPublish' | 'canSubscribe' | 'canPublishData',
): boolean {
  return grant[right] ?? true;
}
