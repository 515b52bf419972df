import * as livekit from '@livekit/protocol';
import type { EncodedJob, RequestedJob, StorageTarget } from '../egress.ts';
import type { AudioRoute, MediaJob, VideoSelection } from '../egress-plan.ts';
import { invalidField } from '../presets.ts';
import { completeJob, readWebhooks } from './complete.ts';
import { assemble, atMostOne, type RequestedOutputs } from './outputs.ts';
import { roomJob, webJob } from './pages.ts';
import { providerOf, storageOf } from './storage.ts';

const CHANNELS: readonly AudioRoute['channel'][] = ['both', 'left', 'right'];

/** StartEgress: source × encoding × outputs × storage. @throws ServiceError naming the field. */
export function readStartEgress(
  request: livekit.StartEgressRequest,
  defaultStorage: StorageTarget,
): RequestedJob {
  const { encoding, source } = request;
  const outputs = readOutputs(request, providerOf(request.storage) ?? defaultStorage);
  if (encoding.case === 'preset' && encoding.value === livekit.EncodingOptionsPreset.PASSTHROUGH) {
    return readPassthrough(request, outputs);
  }
  return completeJob(readSource(source), encoding, outputs, request.webhooks);
}

function readSource(source: livekit.StartEgressRequest['source']): EncodedJob {
  switch (source.case) {
    case 'template':
      return roomJob(source.value, 'default');
    case 'web':
      return webJob(source.value);
    case 'media':
      return mediaJob(source.value);
    case undefined:
      throw invalidField('source');
  }
}

function mediaJob(source: livekit.MediaSource): MediaJob {
  const routes = (source.audio?.routes ?? []).map(readRoute);
  const captureAll = source.audio?.captureAll ?? false;
  const video = readVideo(source.video);
  if (video.from === 'none' && routes.length === 0 && !captureAll) {
    throw invalidField('media (neither video nor audio)');
  }
  return {
    kind: 'media',
    video,
    audio: { captureAll, routes, mixing: 'default' },
    endsWith: endOf(video, captureAll, routes),
  };
}

/** Named tracks and participants end a job with them; everybody's sound ends with the room. */
function endOf(
  video: VideoSelection,
  captureAll: boolean,
  routes: readonly AudioRoute[],
): MediaJob['endsWith'] {
  if (video.from === 'participant') {
    return 'participant';
  }
  const allTracks = !captureAll && routes.every(({ match }) => match.by === 'track');
  return video.from === 'track' || allTracks ? 'tracks' : 'room';
}

function readVideo(video: livekit.MediaSource['video']): VideoSelection {
  switch (video.case) {
    case 'videoTrackId':
      if (video.value === '') {
        throw invalidField('media.video_track_id');
      }
      return { from: 'track', trackId: video.value };
    case 'participantVideo': {
      const { identity, preferScreenShare } = video.value;
      if (identity === '') {
        throw invalidField('media.participant_video.identity');
      }
      return { from: 'participant', identity, preferScreenShare };
    }
    case undefined:
      return { from: 'none' };
  }
}

function readRoute(route: livekit.AudioRoute): AudioRoute {
  const channel = CHANNELS[route.channel];
  if (channel === undefined) {
    throw invalidField('media.audio.routes.channel');
  }
  switch (route.match.case) {
    case 'trackId':
      return { match: { by: 'track', trackId: route.match.value }, channel };
    case 'participantIdentity':
      return { match: { by: 'participant', identity: route.match.value, source: 'any' }, channel };
    case 'participantKind':
      return { match: { by: 'kind', participantKind: route.match.value }, channel };
    case undefined:
      throw invalidField('media.audio.routes (track_id, participant_identity or participant_kind)');
  }
}

/** One track as its publisher encoded it, into one file. */
function readPassthrough(request: livekit.StartEgressRequest, outputs: RequestedOutputs): RequestedJob {
  const { source, webhooks } = request;
  if (source.case !== 'media') {
    throw invalidField('preset (PASSTHROUGH needs a media source with one track)');
  }
  const { file, segments, streams, images } = outputs;
  if (file === undefined || segments !== undefined || streams !== undefined || images.length > 0) {
    throw invalidField('outputs (PASSTHROUGH needs exactly one file)');
  }
  if (file.fileType !== livekit.EncodedFileType.DEFAULT_FILETYPE) {
    throw invalidField('file_type (PASSTHROUGH needs the default)');
  }
  return {
    job: { kind: 'track', trackId: singleTrack(mediaOrNothing(source.value)) },
    encoding: null,
    webhooks: readWebhooks(webhooks),
    outputs: {
      file: {
        kind: 'by_codec',
        filepath: file.filepath,
        disableManifest: file.disableManifest,
        storage: file.storage,
      },
      images: [],
    },
  };
}

function mediaOrNothing(source: livekit.MediaSource): MediaJob | undefined {
  return source.video.case === undefined && source.audio === undefined ? undefined : mediaJob(source);
}

function singleTrack(job: MediaJob | undefined): string {
  const routes = job?.audio.routes ?? [];
  const tracks = [
    ...(job?.video.from === 'track' ? [job.video.trackId] : []),
    ...routes.map(({ match, channel }) => (match.by === 'track' && channel === 'both' ? match.trackId : '')),
  ];
  const [trackId, ...more] = tracks;
  const isPlain = job?.video.from !== 'participant' && job?.audio.captureAll === false;
  if (!isPlain || trackId === undefined || trackId === '' || more.length > 0) {
    throw invalidField('media (PASSTHROUGH needs exactly one track)');
  }
  return trackId;
}

/** The second API knows the same file without a storage of its own. */
function asEncodedFile({
  fileType,
  filepath,
  disableManifest,
}: livekit.FileOutput): livekit.EncodedFileOutput {
  return new livekit.EncodedFileOutput({ fileType, filepath, disableManifest });
}

function readOutputs(request: livekit.StartEgressRequest, fallback: StorageTarget): RequestedOutputs {
  const configs = request.outputs.map(({ config }) => config);
  const storages = new Map<unknown, StorageTarget | undefined>(
    request.outputs.map(({ config, storage }) => [config.value, providerOf(storage)]),
  );
  if (configs.some((config) => config.case === undefined)) {
    throw invalidField('output');
  }
  const file = atMostOne(
    configs.flatMap((config) => (config.case === 'file' ? [config.value] : [])),
    'outputs.file',
  );
  const encodedFile = file === undefined ? undefined : asEncodedFile(file);
  storages.set(encodedFile, storages.get(file));
  return assemble({
    file: encodedFile,
    segments: atMostOne(
      configs.flatMap((config) => (config.case === 'segments' ? [config.value] : [])),
      'outputs.segments',
    ),
    streams: atMostOne(
      configs.flatMap((config) => (config.case === 'stream' ? [config.value] : [])),
      'outputs.stream',
    ),
    images: configs.flatMap((config) => (config.case === 'images' ? [config.value] : [])),
    storageFor: (output) => storages.get(output) ?? storageOf(output.output) ?? fallback,
  });
}
