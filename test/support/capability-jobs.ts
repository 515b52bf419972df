import { AudioConfig } from '@livekit/protocol';
import {
  DirectFileOutput,
  EncodedFileOutput,
  EncodedFileType,
  EncodingOptions,
  EncodingOptionsPreset,
  FileOutput,
  ImageOutput,
  MediaSource,
  Output,
  SegmentedFileOutput,
  StartEgressRequest,
  StorageConfig,
  StreamOutput,
  type EgressInfo,
  type S3Upload,
} from 'livekit-server-sdk';
import {
  CAPABILITIES,
  SOURCES,
  STORED_OUTPUTS,
  STORES,
  STREAMS,
  type Source,
  type Store,
  type StoredOutput,
  type Stream,
} from './capability-matrix.ts';
import type { ClipRoom } from './clip-room.ts';

/** One job that proves cells marked 'here'; all outputs it has come from one encode. */
export type CapabilityJob = {
  name: string;
  /** Folder of its outputs and part of its stream keys; each try has one of its own. */
  id: string;
  source: Source;
  store: Store;
  stored: StoredOutput[];
  streams: Stream[];
};

/** Streams have no store: they ride along, the two kinds of RTMP with one store and SRT with the other. */
const STREAMS_BY_STORE: Readonly<Record<Store, readonly Stream[]>> = { disk: ['rtmp', 'rtmps'], s3: ['srt'] };
const SMALL = new EncodingOptions({ width: 640, height: 360, framerate: 30, videoBitrate: 1200 });

/** As few jobs as the cells allow: Opus shares no encode with AAC, and a track has one output. */
export function capabilityJobs(): CapabilityJob[] {
  return keysOf(CAPABILITIES).flatMap((source) =>
    keysOf(STORES).flatMap((store) => {
      const { stored, streams } = CAPABILITIES[source];
      const here = keysOf(stored).filter((output) => stored[output]?.[store] === 'here');
      const alone = here.filter((output) => source === 'track' || output === 'ogg');
      const together = here.filter((output) => !alone.includes(output));
      const live = STREAMS_BY_STORE[store].filter((stream) => streams[stream] === 'here');
      return [
        ...(together.length + live.length === 0 ? [] : [jobOf(source, store, together, live)]),
        ...alone.map((output) => jobOf(source, store, [output], [])),
      ];
    }),
  );
}

/** Jobs for the stored outputs that an encoded source has not. WebM is none that a request could name. */
export function missingJobs(): CapabilityJob[] {
  return keysOf(CAPABILITIES)
    .filter((source) => source !== 'track')
    .flatMap((source) =>
      keysOf(STORED_OUTPUTS)
        .filter((output) => output !== 'webm' && CAPABILITIES[source].stored[output] === undefined)
        .map((output) => jobOf(source, 'disk', [output], [])),
    );
}

/** An untouched track into what only an encode can feed: the second API has words for it. */
export function untouchedRequests({ room, tracks: { videoTrackId }, nginx }: ClipRoom): StartEgressRequest[] {
  const configs: Output['config'][] = [
    { case: 'segments', value: new SegmentedFileOutput({ playlistName: 'untouched' }) },
    { case: 'images', value: new ImageOutput({ filenamePrefix: 'untouched' }) },
    { case: 'stream', value: new StreamOutput({ urls: [nginx.url('untouched')] }) },
    { case: 'stream', value: new StreamOutput({ urls: ['srt://127.0.0.1:9'] }) },
  ];
  const video = { case: 'videoTrackId', value: videoTrackId } as const;
  return configs.map(
    (config) =>
      new StartEgressRequest({
        roomName: room,
        source: { case: 'media', value: new MediaSource({ video }) },
        encoding: { case: 'preset', value: EncodingOptionsPreset.PASSTHROUGH },
        outputs: [new Output({ config })],
      }),
  );
}

function jobOf(source: Source, store: Store, stored: StoredOutput[], streams: Stream[]): CapabilityJob {
  const places =
    stored.length === 0 ? '' : `${stored.map((o) => STORED_OUTPUTS[o]).join(', ')} (${STORES[store]})`;
  const live = streams.map((stream) => STREAMS[stream]).join(', ');
  return {
    name: `${SOURCES[source]} → ${[places, live].filter((part) => part !== '').join(', ')}`,
    id: [source, store, ...stored].join('-'),
    ...{ source, store, stored, streams },
  };
}

/** What a job needs besides the room. */
export type JobPlace = {
  clip: ClipRoom;
  pageUrl: string;
  vp8: { room: string; trackId: string };
  bucket: S3Upload;
  urls: string[];
};

/** Through LiveKit's own server SDK. */
export function startCapabilityJob(job: CapabilityJob, place: JobPlace): Promise<EgressInfo> {
  const { egress, room, identity, tracks } = place.clip;
  const isSound = job.stored.includes('ogg');
  const encodingOptions = SMALL;
  const outputs = outputsOf(job, place);
  switch (job.source) {
    case 'template':
      return egress.startRoomCompositeEgress(room, outputs, { encodingOptions });
    case 'audio_room':
      return egress.startRoomCompositeEgress(room, outputs, { audioOnly: true });
    case 'web':
      return egress.startWebEgress(place.pageUrl, outputs, { encodingOptions, awaitStartSignal: true });
    case 'participant':
      return egress.startParticipantEgress(room, identity, outputs, { encodingOptions });
    case 'track_composite': {
      const { audioTrackId } = tracks;
      const named = isSound ? { audioTrackId } : tracks;
      return egress.startTrackCompositeEgress(room, outputs, { ...named, encodingOptions });
    }
    case 'media':
      return egress.startEgress(mediaRequest(job, place, isSound));
    case 'track': {
      const file = new DirectFileOutput({ filepath: nameOf(job, job.stored[0]), ...storageOf(job, place) });
      return job.stored[0] === 'webm'
        ? egress.startTrackEgress(place.vp8.room, file, place.vp8.trackId)
        : egress.startTrackEgress(room, file, isSound ? tracks.audioTrackId : tracks.videoTrackId);
    }
  }
}

/** Where a stored output lies; of segments and images what their names begin with. */
export function nameOf({ id }: CapabilityJob, output: StoredOutput | undefined): string {
  const names = {
    mp4: 'whole.mp4',
    ogg: 'whole.ogg',
    webm: 'whole.webm',
    hls: 'index.m3u8',
    images: 'image',
  };
  return `${id}/${output === undefined ? '' : names[output]}`;
}

function outputsOf(job: CapabilityJob, place: JobPlace) {
  const { stored } = job;
  const storage = storageOf(job, place);
  const kind = stored.find((output) => output === 'mp4' || output === 'ogg');
  const fileType = kind === 'ogg' ? EncodedFileType.OGG : EncodedFileType.MP4;
  return {
    ...(kind === undefined
      ? {}
      : { file: new EncodedFileOutput({ fileType, filepath: nameOf(job, kind), ...storage }) }),
    ...(stored.includes('hls') ? { segments: segmentsOf(job, storage) } : {}),
    ...(stored.includes('images') ? { images: imagesOf(job, storage) } : {}),
    ...(place.urls.length === 0 ? {} : { stream: new StreamOutput({ urls: place.urls }) }),
  };
}

/** The second API: source, outputs and storage of any combination in one request. */
function mediaRequest(job: CapabilityJob, place: JobPlace, isSound: boolean): StartEgressRequest {
  const { room, tracks } = place.clip;
  const { stored } = job;
  const configs: Output['config'][] = [
    ...stored
      .filter((output) => output === 'mp4' || output === 'ogg')
      .map((kind) => ({ case: 'file' as const, value: new FileOutput({ filepath: nameOf(job, kind) }) })),
    ...(stored.includes('hls') ? [{ case: 'segments' as const, value: segmentsOf(job, {}) }] : []),
    ...(stored.includes('images') ? [{ case: 'images' as const, value: imagesOf(job, {}) }] : []),
    ...(place.urls.length === 0
      ? []
      : [{ case: 'stream' as const, value: new StreamOutput({ urls: place.urls }) }]),
  ];
  return new StartEgressRequest({
    roomName: room,
    source: {
      case: 'media',
      value: new MediaSource({
        ...(isSound ? {} : { video: { case: 'videoTrackId', value: tracks.videoTrackId } }),
        audio: new AudioConfig({ captureAll: true }),
      }),
    },
    encoding: { case: 'advanced', value: SMALL },
    outputs: configs.map((config) => new Output({ config })),
    ...(job.store === 's3'
      ? { storage: new StorageConfig({ provider: { case: 's3', value: place.bucket } }) }
      : {}),
  });
}

type Storage = { output?: { case: 's3'; value: S3Upload } };

function storageOf(job: CapabilityJob, { bucket }: JobPlace): Storage {
  return job.store === 's3' ? { output: { case: 's3', value: bucket } } : {};
}

function segmentsOf({ id }: CapabilityJob, storage: Storage): SegmentedFileOutput {
  const names = { playlistName: `${id}/index`, filenamePrefix: `${id}/seg` };
  return new SegmentedFileOutput({ ...names, segmentDuration: 2, ...storage });
}

function imagesOf(job: CapabilityJob, storage: Storage): ImageOutput {
  return new ImageOutput({ filenamePrefix: nameOf(job, 'images'), captureInterval: 2, ...storage });
}

function keysOf<T extends object>(table: T): (keyof T)[] {
  return Object.keys(table) as (keyof T)[];
}
