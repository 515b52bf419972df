import * as livekit from '@livekit/protocol';
import type { StorageTarget } from '../egress.ts';
import type { FileTarget, ImageTarget, SegmentTarget, StreamTarget } from '../egress-plan.ts';
import { invalidField, notSupported } from '../presets.ts';
import { storageOf } from './storage.ts';
import { readStreams } from './streams.ts';

/** Outputs as asked for; the type of the file is settled together with the codecs. */
export type RequestedOutputs = {
  file?: Omit<FileTarget, 'kind'> & { fileType: livekit.EncodedFileType };
  segments?: SegmentTarget;
  images: ImageTarget[];
  streams?: StreamTarget;
};

const DEFAULT_SEGMENT_DURATION_S = 4;
const MAX_SEGMENT_DURATION_S = 60;
const DEFAULT_CAPTURE_INTERVAL_S = 10;
const MAX_IMAGE_SIDE = 8192;
const SEGMENT_SUFFIXES: readonly SegmentTarget['suffix'][] = ['index', 'timestamp'];
const IMAGE_SUFFIXES: readonly ImageTarget['suffix'][] = ['index', 'timestamp', 'none_overwrite'];

/** The four lists every encoded request of the first API has, and the single output they replaced. */
type OutputLists = {
  fileOutputs: livekit.EncodedFileOutput[];
  streamOutputs: livekit.StreamOutput[];
  segmentOutputs: livekit.SegmentedFileOutput[];
  imageOutputs: livekit.ImageOutput[];
  output?: livekit.RoomCompositeEgressRequest['output'];
};

/** @throws ServiceError invalid_argument or unimplemented naming the field. */
export function readOutputLists(lists: OutputLists, defaultStorage: StorageTarget): RequestedOutputs {
  const { fileOutputs, streamOutputs, segmentOutputs, imageOutputs, output: single } = lists;
  const listed = [fileOutputs, streamOutputs, segmentOutputs, imageOutputs].some((list) => list.length > 0);
  if (listed || single?.case === undefined) {
    return assemble({
      file: atMostOne(fileOutputs, 'file_outputs'),
      segments: atMostOne(segmentOutputs, 'segment_outputs'),
      streams: atMostOne(streamOutputs, 'stream_outputs'),
      images: imageOutputs,
      storageFor: (output) => storageOf(output.output) ?? defaultStorage,
    });
  }
  /* eslint-disable @typescript-eslint/no-deprecated -- what most callers of LiveKit still send */
  return assemble({
    file: single.case === 'file' ? single.value : undefined,
    segments: single.case === 'segments' ? single.value : undefined,
    streams: single.case === 'stream' ? single.value : undefined,
    /* eslint-enable @typescript-eslint/no-deprecated */
    images: [],
    storageFor: (output) => storageOf(output.output) ?? defaultStorage,
  });
}

type StoredOutput = { output: livekit.EncodedFileOutput['output'] };

export type OutputParts = {
  file: livekit.EncodedFileOutput | undefined;
  segments: livekit.SegmentedFileOutput | undefined;
  streams: livekit.StreamOutput | undefined;
  images: readonly livekit.ImageOutput[];
  storageFor: (output: StoredOutput) => StorageTarget;
};

/** @throws ServiceError invalid_argument or unimplemented naming the field; also when there is no output. */
export function assemble(parts: OutputParts): RequestedOutputs {
  const { file, segments, streams, images, storageFor } = parts;
  if (file === undefined && segments === undefined && streams === undefined && images.length === 0) {
    throw invalidField('output');
  }
  return {
    ...(file === undefined
      ? {}
      : {
          file: {
            fileType: file.fileType,
            filepath: file.filepath,
            disableManifest: file.disableManifest,
            storage: storageFor(file),
          },
        }),
    ...(segments === undefined ? {} : { segments: readSegments(segments, storageFor(segments)) }),
    ...(streams === undefined ? {} : { streams: readStreams(streams) }),
    images: images.map((image) => readImages(image, storageFor(image))),
  };
}

export function atMostOne<T>(outputs: readonly T[], field: string): T | undefined {
  if (outputs.length > 1) {
    throw invalidField(`${field} (at most one)`);
  }
  return outputs[0];
}

function readSegments(output: livekit.SegmentedFileOutput, storage: StorageTarget): SegmentTarget {
  if (output.protocol > livekit.SegmentedFileProtocol.HLS_PROTOCOL) {
    throw invalidField('segments.protocol');
  }
  if (output.segmentDuration > MAX_SEGMENT_DURATION_S) {
    throw invalidField(`segment_duration (at most ${MAX_SEGMENT_DURATION_S} s)`);
  }
  const suffix = SEGMENT_SUFFIXES[output.filenameSuffix];
  if (suffix === undefined) {
    throw invalidField('filename_suffix');
  }
  return {
    filenamePrefix: output.filenamePrefix,
    playlistName: output.playlistName,
    livePlaylistName: output.livePlaylistName,
    segmentDurationS: output.segmentDuration || DEFAULT_SEGMENT_DURATION_S,
    suffix,
    disableManifest: output.disableManifest,
    storage,
  };
}

function readImages(output: livekit.ImageOutput, storage: StorageTarget): ImageTarget {
  if (output.imageCodec > livekit.ImageCodec.IC_JPEG) {
    throw notSupported('image_codec other than JPEG');
  }
  for (const [field, side] of [
    ['width', output.width],
    ['height', output.height],
  ] as const) {
    if (side < 0 || side > MAX_IMAGE_SIDE) {
      throw invalidField(`image_outputs.${field}`);
    }
  }
  const suffix = IMAGE_SUFFIXES[output.filenameSuffix];
  if (suffix === undefined) {
    throw invalidField('filename_suffix');
  }
  return {
    captureIntervalS: output.captureInterval || DEFAULT_CAPTURE_INTERVAL_S,
    width: output.width,
    height: output.height,
    filenamePrefix: output.filenamePrefix,
    suffix,
    disableManifest: output.disableManifest,
    storage,
  };
}
