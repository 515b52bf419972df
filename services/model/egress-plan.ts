import type { EncodedJob, FileKind, JobMedia, StorageTarget } from './egress.ts';

/**
 * The sources and outputs of an egress job after validation; nothing is optional, and it travels to the handler as
 * JSON. One encode serves every output, so all outputs of a job agree on its codecs.
 */

/** Any page, in the room or not (LiveKit: web egress). */
export type WebJob = {
  kind: 'web';
  url: string;
  media: JobMedia;
  awaitStartSignal: boolean;
};

/**
 * Room tracks without a page: participant egress, track composite, audio-only room composite, media source of the
 * second API. Audio is mixed, the picture is one at a time.
 */
export type MediaJob = {
  kind: 'media';
  video: VideoSelection;
  audio: AudioSelection;
  /** What ends the job by itself. */
  endsWith: 'room' | 'participant' | 'tracks';
};

export type VideoSelection =
  | { from: 'none' }
  | { from: 'track'; trackId: string }
  | { from: 'participant'; identity: string; preferScreenShare: boolean };

export type AudioSelection = {
  /** Everything no route names goes to both channels. */
  captureAll: boolean;
  routes: AudioRoute[];
  /** RoomComposite.audio_mixing: agents left and others right, or participants alternately left and right. */
  mixing: 'default' | 'dual_channel_agent' | 'dual_channel_alternate';
};

export type AudioRoute = {
  match:
    | { by: 'track'; trackId: string }
    | { by: 'participant'; identity: string; source: 'microphone' | 'screen_share_audio' | 'any' }
    /** Number of livekit.ParticipantInfo.Kind. */
    | { by: 'kind'; participantKind: number };
  channel: 'both' | 'left' | 'right';
};

/** What a job brings. */
export function mediaOf(job: EncodedJob): JobMedia {
  if (job.kind !== 'media') {
    return job.media;
  }
  const hasAudio = job.audio.captureAll || job.audio.routes.length > 0;
  return job.video.from === 'none' ? 'audio' : hasAudio ? 'audio_video' : 'video';
}

/** At least one of them. */
export type EgressOutputs = {
  file?: FileTarget;
  segments?: SegmentTarget;
  images: ImageTarget[];
  streams?: StreamTarget;
};

export type FileTarget = {
  /** Follows from the codec of the track where nothing is encoded. */
  kind: FileKind | 'by_codec';
  /** With `{placeholders}`; '' or a trailing slash = default name. */
  filepath: string;
  disableManifest: boolean;
  storage: StorageTarget;
};

export type SegmentTarget = {
  filenamePrefix: string;
  playlistName: string;
  /** '' = none. */
  livePlaylistName: string;
  segmentDurationS: number;
  suffix: 'index' | 'timestamp';
  disableManifest: boolean;
  storage: StorageTarget;
};

export type ImageTarget = {
  captureIntervalS: number;
  /** 0 = as recorded. */
  width: number;
  height: number;
  filenamePrefix: string;
  suffix: 'index' | 'timestamp' | 'none_overwrite';
  disableManifest: boolean;
  storage: StorageTarget;
};

/** Several addresses of one protocol; more come and go with UpdateStream. */
export type StreamTarget = { protocol: 'rtmp' | 'srt'; urls: string[] };

/** A webhook of one request: signed with the secret of the API key `signingKey`. */
export type WebhookTarget = { url: string; signingKey: string };
