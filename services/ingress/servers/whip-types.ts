/** What the room's side says to an offer. */
export type WhipAnswer = { sdp: string; etag: string; links: readonly string[] };

export type WhipPublishRequest = {
  /** Secret: never log it, never repeat it in an answer. */
  streamKey: string;
  remoteAddress: string;
  /** Reads the offer from the connection; only for encoders that have shown a valid key. */
  readOffer: () => Promise<string>;
};

export type WhipPatch = { ifMatch: string | undefined; contentType: string; body: string };
export type WhipPatchReply = {
  status: number;
  contentType: string;
  etag: string | undefined;
  body: string;
};

/** A running session as the HTTP server sees it. */
export type WhipSessionHandle = {
  readonly ended: Promise<void>;
  patch(request: WhipPatch): Promise<WhipPatchReply>;
  stop(cause: string): Promise<unknown>;
};

export type WhipPublished = { session: WhipSessionHandle; answer: WhipAnswer };

/** Link headers of the ICE servers for an encoder with this key. @throws ServiceError that is sent as the answer. */
export type OnWhipIceServers = (streamKey: string) => Promise<readonly string[]>;

/** @throws ServiceError that is sent as the answer. */
export type OnWhipPublish = (request: WhipPublishRequest) => Promise<WhipPublished>;
