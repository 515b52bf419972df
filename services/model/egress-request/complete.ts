import * as livekit from '@livekit/protocol';
import type { EncodedJob, JobMedia, RequestedJob } from '../egress.ts';
import { chooseCodecs, type OutputFormat } from '../egress-codecs.ts';
import { mediaOf, type WebhookTarget } from '../egress-plan.ts';
import { invalidField } from '../presets.ts';
import { readEncoding, type EncodingCase } from './encoding.ts';
import type { RequestedOutputs } from './outputs.ts';

const FORMAT_BY_FILE_TYPE: Readonly<Record<number, 'default' | OutputFormat>> = {
  [livekit.EncodedFileType.DEFAULT_FILETYPE]: 'default',
  [livekit.EncodedFileType.MP4]: 'mp4',
  [livekit.EncodedFileType.OGG]: 'ogg',
  [livekit.EncodedFileType.MP3]: 'mp3',
};

/**
 * Settles what depends on all outputs together: codecs, key frame interval, type of the file.
 * @throws ServiceError invalid_argument when they cannot share one encode.
 */
export function completeJob(
  requested: EncodedJob,
  encodingCase: EncodingCase,
  outputs: RequestedOutputs,
  webhooks: readonly livekit.WebhookConfig[],
): RequestedJob {
  const { file, segments, streams, images } = outputs;
  const imagesOnly = file === undefined && segments === undefined && streams === undefined;
  const job = imagesOnly ? withoutAudio(requested) : requested;
  const media = mediaOf(job);
  if (images.length > 0 && media === 'audio') {
    throw invalidField('image_outputs (the job has no video)');
  }
  const { encoding, fileKind } = chooseCodecs({
    media,
    wish: readEncoding(encodingCase),
    file: file === undefined ? undefined : formatOf(file.fileType),
    segmentDurationS: segments?.segmentDurationS,
    streams: streams?.protocol,
  });
  return {
    job,
    encoding,
    webhooks: readWebhooks(webhooks),
    outputs: {
      images,
      ...(segments === undefined ? {} : { segments }),
      ...(streams === undefined ? {} : { streams }),
      ...(file === undefined || fileKind === undefined
        ? {}
        : {
            file: {
              kind: fileKind,
              filepath: file.filepath,
              disableManifest: file.disableManifest,
              storage: file.storage,
            },
          }),
    },
  };
}

export function readWebhooks(webhooks: readonly livekit.WebhookConfig[]): WebhookTarget[] {
  return webhooks.map(({ url, signingKey }) => {
    if (!/^https?:\/\/./i.test(url) || !URL.canParse(url)) {
      throw invalidField('webhooks.url');
    }
    if (signingKey === '') {
      throw invalidField('webhooks.signing_key');
    }
    return { url, signingKey };
  });
}

/** @throws ServiceError invalid_argument when both are set. */
export function mediaFrom(source: { audioOnly: boolean; videoOnly: boolean }): JobMedia {
  if (source.audioOnly && source.videoOnly) {
    throw invalidField('audio_only and video_only');
  }
  return source.audioOnly ? 'audio' : source.videoOnly ? 'video' : 'audio_video';
}

function formatOf(fileType: livekit.EncodedFileType): 'default' | OutputFormat {
  const format = FORMAT_BY_FILE_TYPE[fileType];
  if (format === undefined) {
    throw invalidField('file_type');
  }
  return format;
}

/** Pictures need no sound. */
function withoutAudio(job: EncodedJob): EncodedJob {
  if (job.kind === 'media') {
    return { ...job, audio: { captureAll: false, routes: [], mixing: 'default' } };
  }
  return job.media === 'audio' ? job : { ...job, media: 'video' };
}
