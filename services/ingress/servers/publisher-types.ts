import type { AmfObject } from '../../protocol/amf0.ts';

export type PublishRequest = {
  /** Secret: never log it, never repeat it in an answer. */
  streamKey: string;
  remoteAddress: string;
};

/** The encoder's connection as a session sees it. */
export type EncoderConnection = {
  /** Tells the encoder why and hangs up. Idempotent. */
  drop(cause: string): void;
};

/** What a source holds, told by a reader that has already made something else of it. */
export type SourceDescription = {
  /** `transcoded`: why the reader encodes it anew; '' = it does not. */
  video:
    | {
        codec: string;
        width: number;
        height: number;
        framerate: number | undefined;
        transcoded: string;
      }
    | undefined;
  audio: { codec: string; channels: number; outputSampleRateHz: number } | undefined;
};

/** Where an accepted publisher's media goes. Nothing here may throw; `end` or `lost` comes once, last. */
export type MediaSink = {
  metadata(values: AmfObject): void;
  /** Before the first media; without it the media itself tells. */
  source?(description: SourceDescription): void;
  /**
   * @param timestampMs decoding time, unsigned 32 bit. @param body FLV tag body, owned by the sink.
   * @param arrivalUs on this machine's monotonic clock; default: now.
   */
  audio(timestampMs: number, body: Buffer, arrivalUs?: number): void;
  video(timestampMs: number, body: Buffer, arrivalUs?: number): void;
  /** The program has left for this event, an advertisement; '' = it is back (SCTE 35). */
  outOfNetwork?(eventId: string): void;
  /** The connection broke without a goodbye: the encoder may come back. Without it `end` is called. */
  lost?(cause: string): void;
  /** The encoder is gone; `failure` when it did not end by itself. */
  end(cause: string, failure?: Error): void;
};

/** Resolves to the sink of an accepted publisher. @throws ServiceError whose message the encoder is told. */
export type OnPublish = (request: PublishRequest, connection: EncoderConnection) => Promise<MediaSink>;
