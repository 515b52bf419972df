import * as livekit from '@livekit/protocol';
import type { FileTarget, S3Target, StorageTarget, TemplateJob, TrackJob } from './egress.ts';
import {
  DEFAULT_ENCODING,
  encodingFrom,
  invalidField,
  notSupported,
  PRESETS,
  type AdvancedOptions,
  type Encoding,
} from './presets.ts';

/** What the caller asked for, freed of LiveKit's two API generations. */
export type RequestedJob = { job: TemplateJob | TrackJob; file: FileTarget };

type Requests =
  | { case: 'egress'; value: livekit.StartEgressRequest }
  | { case: 'roomComposite'; value: livekit.RoomCompositeEgressRequest }
  | { case: 'web'; value: livekit.WebEgressRequest }
  | { case: 'participant'; value: livekit.ParticipantEgressRequest }
  | { case: 'trackComposite'; value: livekit.TrackCompositeEgressRequest }
  | { case: 'track'; value: livekit.TrackEgressRequest }
  | { case: undefined; value?: undefined };

/**
 * One job from any request shape. `defaultStorage` holds when the request names none.
 * @throws ServiceError invalid_argument or unimplemented, naming the field.
 */
export function readRequest(request: Requests, defaultStorage: StorageTarget): RequestedJob {
  switch (request.case) {
    case 'roomComposite':
      return readRoomComposite(request.value, defaultStorage);
    case 'track':
      return readTrack(request.value, defaultStorage);
    case 'egress':
      return readStartEgress(request.value, defaultStorage);
    case 'web':
    case 'participant':
      throw notSupported(`${request.case} egress`);
    case 'trackComposite':
      throw notSupported('track composite egress');
    case undefined:
      throw invalidField('request');
  }
}

function readRoomComposite(
  request: livekit.RoomCompositeEgressRequest,
  defaultStorage: StorageTarget,
): RequestedJob {
  if (request.audioMixing !== livekit.AudioMixing.DEFAULT_MIXING) {
    throw notSupported('audio_mixing');
  }
  refuseFilled({
    webhooks: request.webhooks,
    stream_outputs: request.streamOutputs,
    segment_outputs: request.segmentOutputs,
    image_outputs: request.imageOutputs,
  });
  const { output: single } = request;
  if (single.case === 'stream' || single.case === 'segments') {
    throw notSupported(`${single.case} output`);
  }
  // eslint-disable-next-line @typescript-eslint/no-deprecated -- what most callers of LiveKit still send
  const outputs = single.case === 'file' ? [single.value] : request.fileOutputs;
  const output = singleOutput(outputs, 'file_outputs');
  return {
    job: templateJob(request, encodingOf(request.options), output.fileType),
    file: {
      filepath: output.filepath,
      disableManifest: output.disableManifest,
      storage: storageOf(output.output) ?? defaultStorage,
    },
  };
}

function readTrack(request: livekit.TrackEgressRequest, defaultStorage: StorageTarget): RequestedJob {
  refuseFilled({ webhooks: request.webhooks });
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
    file: { filepath, disableManifest, storage: storageOf(output) ?? defaultStorage },
  };
}

function readStartEgress(request: livekit.StartEgressRequest, defaultStorage: StorageTarget): RequestedJob {
  refuseFilled({ webhooks: request.webhooks });
  const output = singleOutput(request.outputs, 'outputs');
  if (output.config.case === undefined) {
    throw invalidField('output');
  }
  if (output.config.case !== 'file') {
    throw notSupported(`${output.config.case} output`);
  }
  const { filepath, disableManifest, fileType } = output.config.value;
  const storage = providerOf(output.storage) ?? providerOf(request.storage) ?? defaultStorage;
  const file: FileTarget = { filepath, disableManifest, storage };
  const { source, encoding } = request;
  const isPassthrough =
    encoding.case === 'preset' && encoding.value === livekit.EncodingOptionsPreset.PASSTHROUGH;
  switch (source.case) {
    case 'template':
      if (isPassthrough) {
        throw invalidField('preset (PASSTHROUGH needs a media source with one track)');
      }
      return { job: templateJob(source.value, encodingOf(encoding), fileType), file };
    case 'media':
      if (!isPassthrough) {
        throw notSupported('media source without preset PASSTHROUGH');
      }
      if (fileType !== livekit.EncodedFileType.DEFAULT_FILETYPE) {
        throw invalidField('file_type (PASSTHROUGH needs the default)');
      }
      return { job: { kind: 'track', trackId: singleTrack(source.value) }, file };
    case 'web':
      throw notSupported('web source');
    case undefined:
      throw invalidField('source');
  }
}

function templateJob(
  source: { layout: string; customBaseUrl: string; audioOnly: boolean; videoOnly: boolean },
  encoding: Encoding,
  fileType: livekit.EncodedFileType,
): TemplateJob {
  if (source.audioOnly && source.videoOnly) {
    throw invalidField('audio_only and video_only');
  }
  if (source.customBaseUrl !== '' && !/^https?:\/\/./i.test(source.customBaseUrl)) {
    throw invalidField('custom_base_url');
  }
  const media = source.audioOnly ? 'audio' : source.videoOnly ? 'video' : 'audio_video';
  const container = containerOf(fileType, media);
  // Ogg holds Opus only; everything else LiveKit pairs with AAC unless told otherwise.
  const audioCodec = container === 'ogg' ? 'opus' : encoding.audioCodec;
  return {
    kind: 'template',
    layout: source.layout,
    customBaseUrl: source.customBaseUrl,
    media,
    container,
    encoding: { ...encoding, audioCodec },
  };
}

function containerOf(fileType: livekit.EncodedFileType, media: TemplateJob['media']): 'mp4' | 'ogg' {
  switch (fileType) {
    case livekit.EncodedFileType.DEFAULT_FILETYPE:
      return media === 'audio' ? 'ogg' : 'mp4';
    case livekit.EncodedFileType.MP4:
      return 'mp4';
    case livekit.EncodedFileType.OGG:
      if (media !== 'audio') {
        throw invalidField('file_type (format OGG incompatible with codec H264)');
      }
      return 'ogg';
    case livekit.EncodedFileType.MP3:
      throw notSupported('file_type MP3');
    default:
      throw invalidField('file_type');
  }
}

type EncodingCase =
  | { case: 'preset'; value: livekit.EncodingOptionsPreset }
  | { case: 'advanced'; value: livekit.EncodingOptions }
  | { case: undefined; value?: undefined };

const AUDIO_CODECS: readonly AdvancedOptions['audioCodec'][] = ['default', 'opus', 'aac', 'mp3'];

function encodingOf(encoding: EncodingCase): Encoding {
  switch (encoding.case) {
    case 'preset': {
      const preset = PRESETS[encoding.value];
      if (preset === undefined) {
        throw invalidField('preset');
      }
      return preset;
    }
    case 'advanced': {
      const audioCodec = AUDIO_CODECS[encoding.value.audioCodec];
      if (audioCodec === undefined) {
        throw invalidField('audio_codec');
      }
      return encodingFrom({ ...fieldsOf(encoding.value), audioCodec });
    }
    case undefined:
      return DEFAULT_ENCODING;
  }
}

function fieldsOf(options: livekit.EncodingOptions): Omit<AdvancedOptions, 'audioCodec'> {
  const { width, height, depth, framerate, audioBitrate, audioFrequency, videoBitrate, keyFrameInterval } =
    options;
  return { width, height, depth, framerate, audioBitrate, audioFrequency, videoBitrate, keyFrameInterval };
}

/** The one track of a passthrough media source. */
function singleTrack(source: livekit.MediaSource): string {
  if (source.video.case === 'participantVideo') {
    throw notSupported('media.participant_video');
  }
  if (source.audio?.captureAll === true) {
    throw notSupported('media.audio.capture_all');
  }
  const audioTracks = (source.audio?.routes ?? []).map((route) => {
    if (route.match.case !== 'trackId') {
      throw notSupported(`media.audio.routes ${route.match.case ?? 'without track_id'}`);
    }
    if (route.channel !== livekit.AudioChannel.BOTH) {
      throw notSupported('media.audio.routes channel');
    }
    return route.match.value;
  });
  const tracks = [...(source.video.case === 'videoTrackId' ? [source.video.value] : []), ...audioTracks];
  const [trackId, ...more] = tracks;
  if (trackId === undefined || trackId === '' || more.length > 0) {
    throw invalidField('media (PASSTHROUGH needs exactly one track)');
  }
  return trackId;
}

function singleOutput<T>(outputs: readonly T[], field: string): T {
  const [output, ...more] = outputs;
  if (output === undefined) {
    throw invalidField('output');
  }
  if (more.length > 0) {
    throw notSupported(`more than one of ${field}`);
  }
  return output;
}

function refuseFilled(fields: Record<string, readonly unknown[]>): void {
  for (const [field, values] of Object.entries(fields)) {
    if (values.length > 0) {
      throw notSupported(field);
    }
  }
}

type StorageCase = livekit.DirectFileOutput['output'] | livekit.StorageConfig['provider'];

function providerOf(config: livekit.StorageConfig | undefined): StorageTarget | undefined {
  return config === undefined ? undefined : storageOf(config.provider);
}

function storageOf(storage: StorageCase): StorageTarget | undefined {
  switch (storage.case) {
    case 's3':
      return s3Target(storage.value);
    case undefined:
      return undefined;
    case 'gcp':
    case 'azure':
    case 'aliOSS':
      throw notSupported(`${storage.case} storage`);
  }
}

function s3Target(upload: livekit.S3Upload): S3Target {
  if (upload.bucket === '') {
    throw invalidField('s3.bucket');
  }
  if (upload.assumeRoleArn !== '' || upload.assumeRoleExternalId !== '') {
    throw notSupported('s3.assume_role_arn');
  }
  if (upload.proxy !== undefined) {
    throw notSupported('s3.proxy');
  }
  if ((upload.accessKey === '') !== (upload.secret === '')) {
    throw invalidField(upload.accessKey === '' ? 's3.access_key' : 's3.secret');
  }
  return {
    kind: 's3',
    accessKey: upload.accessKey,
    secret: upload.secret,
    sessionToken: upload.sessionToken,
    region: upload.region,
    endpoint: endpointUrl(upload.endpoint),
    bucket: upload.bucket,
    forcePathStyle: upload.forcePathStyle,
    metadata: { ...upload.metadata },
    tagging: upload.tagging,
    contentDisposition: upload.contentDisposition || 'inline',
  };
}

/** '' or an absolute address without a trailing slash; a bare host means https. */
function endpointUrl(endpoint: string): string {
  if (endpoint === '') {
    return '';
  }
  const url = /^https?:\/\//i.test(endpoint) ? endpoint : `https://${endpoint}`;
  if (!URL.canParse(url)) {
    throw invalidField('s3.endpoint');
  }
  return url.replace(/\/+$/, '');
}
