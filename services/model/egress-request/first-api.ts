import type * as livekit from '@livekit/protocol';
import type { RequestedJob, StorageTarget } from '../egress.ts';
import type { AudioRoute, AudioSelection } from '../egress-plan.ts';
import { invalidField, notSupported } from '../presets.ts';
import { completeJob, readWebhooks } from './complete.ts';
import { readOutputLists } from './outputs.ts';
import { roomJob, webJob } from './pages.ts';
import { storageOf } from './storage.ts';

const MIXING: readonly AudioSelection['mixing'][] = [
  'default',
  'dual_channel_agent',
  'dual_channel_alternate',
];

export function readRoomComposite(
  request: livekit.RoomCompositeEgressRequest,
  storage: StorageTarget,
): RequestedJob {
  const mixing = MIXING[request.audioMixing];
  if (mixing === undefined) {
    throw invalidField('audio_mixing');
  }
  const job = roomJob(request, mixing);
  return completeJob(job, request.options, readOutputLists(request, storage), request.webhooks);
}

export function readWeb(request: livekit.WebEgressRequest, storage: StorageTarget): RequestedJob {
  return completeJob(webJob(request), request.options, readOutputLists(request, storage), request.webhooks);
}

/** Camera and microphone of one participant, or their shared screen and its sound. */
export function readParticipant(
  request: livekit.ParticipantEgressRequest,
  storage: StorageTarget,
): RequestedJob {
  const { identity, screenShare, options, webhooks } = request;
  if (identity === '') {
    throw invalidField('identity');
  }
  const route: AudioRoute = {
    match: { by: 'participant', identity, source: screenShare ? 'screen_share_audio' : 'microphone' },
    channel: 'both',
  };
  return completeJob(
    {
      kind: 'media',
      video: { from: 'participant', identity, preferScreenShare: screenShare },
      audio: { captureAll: false, routes: [route], mixing: 'default' },
      endsWith: 'participant',
    },
    options,
    readOutputLists(request, storage),
    webhooks,
  );
}

export function readTrackComposite(
  request: livekit.TrackCompositeEgressRequest,
  storage: StorageTarget,
): RequestedJob {
  const { audioTrackId, videoTrackId, options, webhooks } = request;
  if (audioTrackId === '' && videoTrackId === '') {
    throw invalidField('audio_track_id or video_track_id');
  }
  const route: AudioRoute = { match: { by: 'track', trackId: audioTrackId }, channel: 'both' };
  return completeJob(
    {
      kind: 'media',
      video: videoTrackId === '' ? { from: 'none' } : { from: 'track', trackId: videoTrackId },
      audio: { captureAll: false, routes: audioTrackId === '' ? [] : [route], mixing: 'default' },
      endsWith: 'tracks',
    },
    options,
    readOutputLists(request, storage),
    webhooks,
  );
}

export function readTrack(request: livekit.TrackEgressRequest, storage: StorageTarget): RequestedJob {
  if (request.trackId === '') {
    throw invalidField('track_id');
  }
  if (request.output.case === 'websocketUrl') {
    throw notSupported('websocket_url');
  }
  if (request.output.case === undefined) {
    throw invalidField('output');
  }
  const { filepath, disableManifest, output } = request.output.value;
  return {
    job: { kind: 'track', trackId: request.trackId },
    encoding: null,
    webhooks: readWebhooks(request.webhooks),
    outputs: {
      file: { kind: 'by_codec', filepath, disableManifest, storage: storageOf(output) ?? storage },
      images: [],
    },
  };
}
