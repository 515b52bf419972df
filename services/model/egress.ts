import type { EgressOutputs, MediaJob, WebhookTarget, WebJob } from './egress-plan.ts';
import type { Encoding } from './presets.ts';

/** What an egress job does, after validation; it travels to the handler as JSON. */
export type ValidatedEgress = RequestedJob & {
  egressId: string;
  roomId: string;
  roomName: string;
  /** Hidden recorder token for the room. */
  token: string;
  wsUrl: string;
};

/** The part of a job that the request decides. */
export type RequestedJob = EgressWork & {
  outputs: EgressOutputs;
  /** Told about this job besides the server's own webhooks. */
  webhooks: WebhookTarget[];
};

/** Source and encoding; the packets of a single track stay as they are (`encoding: null`). */
export type EgressWork = { job: EncodedJob; encoding: Encoding } | { job: TrackJob; encoding: null };
export type EncodedJob = TemplateJob | WebJob | MediaJob;
export type EgressJobKind = EgressWork['job']['kind'];

export type JobMedia = 'audio_video' | 'video' | 'audio';

/** A room seen through a page. */
export type TemplateJob = {
  kind: 'template';
  layout: string;
  /** '' = the built-in page. */
  customBaseUrl: string;
  media: JobMedia;
};

/** One published track, packets untouched. */
export type TrackJob = { kind: 'track'; trackId: string };

export type LocalTarget = { kind: 'local'; rootDir: string };
export type S3Target = {
  kind: 's3';
  /** '' = the AWS default credential chain. */
  accessKey: string;
  secret: string;
  sessionToken: string;
  region: string;
  /** '' = AWS. */
  endpoint: string;
  bucket: string;
  forcePathStyle: boolean;
  metadata: Record<string, string>;
  /** `key=value&key=value` */
  tagging: string;
  contentDisposition: string;
};
export type StorageTarget = LocalTarget | S3Target;

/** File kinds an egress writes. */
export type FileKind = 'mp4' | 'webm' | 'ogg';

/** Everything that is uploaded, by its extension. */
export const MIME_BY_EXTENSION: Readonly<Record<FileKind | 'ts' | 'm3u8' | 'jpeg' | 'json', string>> = {
  mp4: 'video/mp4',
  webm: 'video/webm',
  ogg: 'audio/ogg',
  ts: 'video/mp2t',
  m3u8: 'application/x-mpegurl',
  jpeg: 'image/jpeg',
  json: 'application/json',
};

/** Track egress: the container that takes a codec as it is. */
export const FILE_KIND_BY_CODEC: Readonly<Partial<Record<string, FileKind>>> = {
  h264: 'mp4',
  vp8: 'webm',
  vp9: 'webm',
  opus: 'ogg',
};

/** Why a job ends; the text after "End reason: " in EgressInfo.details is LiveKit's. */
export type EndReason =
  | 'stop_requested'
  | 'source_closed'
  | 'streams_stopped'
  | 'limit_reached'
  | 'no_start_signal'
  | 'stopped_before_start'
  | 'killed'
  | 'failure';

export const END_REASON_TEXT: Readonly<Record<EndReason, string>> = {
  stop_requested: 'StopEgress API',
  source_closed: 'Source closed',
  streams_stopped: 'All streams stopped',
  limit_reached: 'Session limit reached',
  no_start_signal: 'Start signal not received',
  stopped_before_start: 'Stop called before pipeline could start',
  killed: 'Process killed',
  failure: 'Failure',
};
