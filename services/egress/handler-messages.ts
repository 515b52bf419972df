import type { EndReason, FileKind, ValidatedEgress } from '../model/egress.ts';

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

/** Where an unfinished recording lies, so that the service can finish it when the handler dies. */
export type RecordingSpool = {
  /** Playable at any moment. */
  file: string;
  kind: FileKind;
  storagePath: string;
  startedAtMs: number;
  track: TrackFacts;
};

/** What is known about the recorded track; '' for templates. */
export type TrackFacts = {
  trackId: string;
  publisherIdentity: string;
  /** audio | video */
  trackType: string;
  trackSource: string;
};

export type ToHandler = { type: 'start'; job: HandlerJob } | { type: 'stop'; reason: EndReason };

export type FromHandler =
  /** Storage answered, the job is about to join. */
  | { type: 'prepared' }
  | { type: 'spool'; spool: RecordingSpool }
  /** A new state of the job; EgressInfo as base64. The last one is final. */
  | { type: 'update'; info: string };
