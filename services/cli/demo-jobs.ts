import * as livekit from '@livekit/protocol';
import { copyFile } from 'node:fs/promises';
import path from 'node:path';
import type { DemoJob, DemoResult } from './demo-act.ts';
import type { Expectation } from './demo-check.ts';
import type { Publisher } from './demo-publishers.ts';
import { WHIP_PICTURE } from './demo-whip.ts';
import type { LiveKitApi } from './livekit-api.ts';
import type { RecordingPlatform } from './rtmp-platform.ts';

export type JobOptions = {
  api: LiveKitApi;
  room: string;
  /** In the storage. */
  folder: string;
  seconds: number;
};

const SEGMENT_SECONDS = 2;
const IMAGE_INTERVAL_SECONDS = 3;
/** A recording may miss the moments between the request and the first key frame. */
const MIN_SHARE = 0.8;
/** Of a stream that is added after a third of the time. */
const MIN_SHARE_ADDED = 0.4;
const COMPOSITE = { codec: 'h264', width: 1280, height: 720 } as const;
/** Platforms show what they are sent at once; a stream key is all they know of us. */
const FIRST_STREAM = { platform: 'YouTube', path: 'youtube/demo-key-1' } as const;
const ADDED_STREAM = { platform: 'Twitch', path: 'twitch/demo-key-2' } as const;

/** One encode of the room for a file, HLS, pictures and two platforms, one of which is added while it runs. */
export function compositeJob(options: JobOptions, platform: RecordingPlatform): DemoJob {
  const { api, room, folder, seconds } = options;
  return {
    what: 'Room composite, one encode',
    start: () =>
      api.startRoomComposite({
        ...{ roomName: room, layout: 'grid' },
        fileOutputs: [{ filepath: `${folder}/composite.mp4` }],
        segmentOutputs: [
          {
            ...{ filenamePrefix: `${folder}/hls/part`, segmentDuration: SEGMENT_SECONDS },
            ...{ playlistName: `${folder}/hls/index.m3u8`, livePlaylistName: `${folder}/hls/live.m3u8` },
          },
        ],
        imageOutputs: [{ filenamePrefix: `${folder}/images/at`, captureInterval: IMAGE_INTERVAL_SECONDS }],
        streamOutputs: [{ protocol: livekit.StreamProtocol.RTMP, urls: [platform.url(FIRST_STREAM.path)] }],
      }),
    async whileRunning(egressId) {
      await api.updateStream({ egressId, addOutputUrls: [platform.url(ADDED_STREAM.path)] });
      await api.updateLayout({ egressId, layout: 'speaker' });
    },
    async results(info) {
      const expected = { video: COMPOSITE, audio: 'aac', minSeconds: seconds * MIN_SHARE };
      const file = locationOf(info);
      const [segments] = info.segmentResults;
      const [images] = info.imageResults;
      const base = path.dirname(file);
      await platform.stop();
      return [
        { route: 'page → MP4', files: [file], expected },
        {
          route: `page → HLS, ${Number(segments?.segmentCount ?? 0)} segments`,
          files: [segments?.playlistLocation ?? ''],
          expected,
        },
        await streamResult(platform, FIRST_STREAM, base, '', expected),
        await streamResult(platform, ADDED_STREAM, base, ', added later', {
          ...expected,
          minSeconds: seconds * MIN_SHARE_ADDED,
        }),
        {
          route: `page → JPEG every ${IMAGE_INTERVAL_SECONDS} s`,
          files: Array.from({ length: Number(images?.imageCount ?? 0) }, (_, index) =>
            path.join(base, 'images', `at_${String(index).padStart(5, '0')}.jpeg`),
          ),
          expected: { video: { ...COMPOSITE, codec: 'mjpeg' }, minSeconds: 0 },
        },
      ];
    },
  };
}

async function streamResult(
  platform: RecordingPlatform,
  stream: typeof FIRST_STREAM | typeof ADDED_STREAM,
  folder: string,
  when: string,
  expected: Expectation,
): Promise<DemoResult> {
  const recordings = await platform.recordings(stream.path);
  const files = await Promise.all(
    recordings.map(async (recording, index) => {
      const name = `${stream.platform.toLowerCase()}${index === 0 ? '' : `-${index + 1}`}.flv`;
      const file = path.join(folder, name);
      await copyFile(recording, file);
      return file;
    }),
  );
  return { route: `page → RTMP "${stream.platform}"${when}`, files, expected };
}

/** Everything that can be heard, mixed; needs no browser. */
export function audioOnlyJob(options: JobOptions): DemoJob {
  const { api, room } = options;
  return fileJob(options, {
    what: 'Room composite, audio only',
    route: 'all sound, mixed → OGG',
    name: 'room-sound.ogg',
    expected: { audio: 'opus' },
    start: (filepath) =>
      api.startRoomComposite({ roomName: room, audioOnly: true, fileOutputs: [{ filepath }] }),
  });
}

/** The packets of one track as they were published. */
export function trackJob(
  options: JobOptions,
  track: livekit.TrackInfo,
  labels: {
    route: string;
    name: string;
    expected: Omit<Expectation, 'minSeconds'>;
    /** Untouched video begins with the next key frame that its encoder makes. */
    keyFrameIntervalSeconds: number;
  },
): DemoJob {
  const { api, room } = options;
  return fileJob(options, {
    what: 'Track, packets untouched',
    ...labels,
    mayMissSeconds: labels.keyFrameIntervalSeconds,
    start: (filepath) =>
      api.startTrack({
        ...{ roomName: room, trackId: track.sid },
        output: { case: 'file', value: { filepath } },
      }),
  });
}

/** A page of one's own instead of the built-in one. */
export function templateJob(options: JobOptions, customBaseUrl: string): DemoJob {
  const { api, room } = options;
  return fileJob(options, {
    what: 'Room composite, custom template',
    route: 'templates/starter → MP4',
    name: 'custom-template.mp4',
    expected: { video: COMPOSITE, audio: 'aac' },
    start: (filepath) =>
      api.startRoomComposite({ roomName: room, customBaseUrl, fileOutputs: [{ filepath }] }),
  });
}

/** Camera and microphone of one participant, whatever they are at any time. */
export function participantJob(options: JobOptions, publisher: Publisher): DemoJob {
  const { api, room } = options;
  return fileJob(options, {
    what: 'Participant',
    route: `${publisher.identity} → MP4`,
    name: 'participant.mp4',
    expected: { video: { codec: 'h264', ...WHIP_PICTURE }, audio: 'aac' },
    start: (filepath) =>
      api.startParticipant({
        ...{ roomName: room, identity: publisher.identity },
        options: { case: 'advanced', value: new livekit.EncodingOptions(WHIP_PICTURE) },
        fileOutputs: [{ filepath }],
      }),
  });
}

/** One picture and one sound in one file. */
export function trackCompositeJob(options: JobOptions, publisher: Publisher): DemoJob {
  const { api, room } = options;
  return fileJob(options, {
    what: 'Track composite',
    route: `both tracks of ${publisher.identity} → MP4`,
    name: 'track-composite.mp4',
    expected: { video: COMPOSITE, audio: 'aac' },
    start: (filepath) =>
      api.startTrackComposite({
        ...{ roomName: room, videoTrackId: publisher.video.sid, audioTrackId: publisher.audio.sid },
        fileOutputs: [{ filepath }],
      }),
  });
}

function fileJob(
  { folder, seconds }: JobOptions,
  job: {
    what: string;
    route: string;
    name: string;
    expected: Omit<Expectation, 'minSeconds'>;
    mayMissSeconds?: number;
    start: (filepath: string) => Promise<livekit.EgressInfo>;
  },
): DemoJob {
  const { what, route, name, expected, mayMissSeconds = 0 } = job;
  const minSeconds = Math.max(0.5, seconds * MIN_SHARE - mayMissSeconds);
  return {
    what,
    start: () => job.start(`${folder}/${name}`),
    results: (info) =>
      Promise.resolve([{ route, files: [locationOf(info)], expected: { ...expected, minSeconds } }]),
  };
}

function locationOf(info: livekit.EgressInfo): string {
  return info.fileResults[0]?.location ?? '';
}
