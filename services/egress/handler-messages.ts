import type { ErrorCode } from '../base/errors.ts';
import type { EndReason, FileKind, ValidatedEgress } from '../model/egress.ts';
import type { BrowserWish } from './browser/spare-browser.ts';
import type { SegmentNames } from './outputs/segment-names.ts';

/** Everything a handler process needs; sent once, over IPC, so that secrets are in no command line or environment. */
export type HandlerJob = {
  egress: ValidatedEgress;
  /** EgressInfo (protobuf, base64) as created by the service. */
  info: string;
  /** Exists, belongs to this job alone and is removed by the service. */
  workDir: string;
  /** Keeps recordings that their storage refused. */
  rescueDir: string;
  tools: HandlerTools;
  logLevel: string;
};

export type HandlerTools = {
  ffmpegPath: string;
  /** '' = none. */
  chromiumPath: string;
  /** dist/templates */
  templatesDir: string;
  startSignalTimeoutMs: number;
  /** How long a track may take to be published. */
  trackWaitMs: number;
};

/** What an output has on disk while it works, so that the service can finish it when the handler dies. */
export type OutputSpool = FileSpool | SegmentsSpool;

export type FileSpool = {
  output: 'file';
  /** Playable at any moment. */
  file: string;
  kind: FileKind;
  storagePath: string;
  startedAtMs: number;
};

export type SegmentsSpool = {
  output: 'segments';
  /** Holds a list of the closed segments, those not yet uploaded, and the open one. */
  folder: string;
  names: SegmentNames;
  startedAtMs: number;
};

/** What is known about the recorded track or participant; '' for pages. */
export type TrackFacts = {
  trackId: string;
  publisherIdentity: string;
  /** audio | video */
  trackType: string;
  trackSource: string;
  /** Of jobs that take both from named tracks. */
  audioTrackId?: string;
  videoTrackId?: string;
};

export type ToHandler =
  /** Before the job: a browser it will probably need. */
  | { type: 'warm_browser'; browser: BrowserWish }
  | { type: 'start'; job: HandlerJob }
  | { type: 'stop'; reason: EndReason }
  /** Answered by `stream_updated` with the same requestId. */
  | { type: 'update_stream'; requestId: number; add: string[]; remove: string[] };

export type FromHandler =
  /** Storage answered, the job is about to join. */
  | { type: 'prepared' }
  /** Replaces what the same output sent before. */
  | { type: 'spool'; spool: OutputSpool; track: TrackFacts }
  /** Nothing was changed when there is an error. */
  | { type: 'stream_updated'; requestId: number; error?: { code: ErrorCode; message: string } }
  /** A new state of the job; EgressInfo as base64. The last one is final. */
  | { type: 'update'; info: string };
