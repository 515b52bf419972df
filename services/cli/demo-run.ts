import * as livekit from '@livekit/protocol';
import { setTimeout as delay } from 'node:timers/promises';
import { ServiceError } from '../base/errors.ts';
import { isEnded } from '../bus/egress-store.ts';
import type { ExitCode } from './command.ts';
import { progress, say } from './console.ts';
import { checkRecording, demoReport, type Expectation } from './demo-report.ts';
import { DEMO_PICTURE, pushDemoStream } from './demo-source.ts';
import { LiveKitApi } from './livekit-api.ts';
import { startRtmpPlatform } from './rtmp-platform.ts';
import type { Tools } from './tools.ts';
import type { ServerAccess } from './twirp-client.ts';

export type DemoOptions = {
  access: ServerAccess;
  tools: Tools;
  seconds: number;
  viaPlatform: boolean;
  signal: AbortSignal;
};

const ROOM = 'demo-room';
const IDENTITY = 'demo-camera';
const PUBLISH_TIMEOUT_MS = 30_000;
const START_TIMEOUT_MS = 45_000;
const FINISH_TIMEOUT_MS = 60_000;
const POLL_MS = 250;
/** A recording may miss the moments between the request and the first key frame. */
const MIN_RECORDED_SHARE = 0.8;

/** Pushes, records twice, checks. @returns 0 when both files are what was asked for. */
export async function runDemo(options: DemoOptions): Promise<ExitCode> {
  const api = new LiveKitApi(options.access);
  const startedAtMs = Date.now();
  say(`server ${options.access.url}`);
  const ingress = await api.createIngress({
    name: 'demo',
    roomName: ROOM,
    participantIdentity: IDENTITY,
    participantName: 'Demo camera',
  });
  const source = await startSource(options, ingress);
  try {
    const tracks = await Promise.race([publishedTracks(api, options.signal), source.failed]);
    say(`in room "${ROOM}" after ${since(startedAtMs)}: ${tracks.map(describeTrack).join(', ')}`);
    const files = await Promise.race([recordBoth(api, tracks, options), source.failed]);
    const checks = await Promise.all(
      files.map(({ location, expected }) => checkRecording(options.tools.ffprobePath, location, expected)),
    );
    process.stdout.write(`\n${demoReport(checks)}\n`);
    const isWrong = checks.some((check) => check.problems.length > 0);
    say(isWrong ? 'something is wrong, see above' : `done in ${since(startedAtMs)}`);
    return isWrong ? 1 : 0;
  } finally {
    await source.stop();
    await api.deleteIngress(ingress.ingressId).catch(() => undefined);
  }
}

type Source = { failed: Promise<never>; stop(): Promise<void> };

async function startSource(options: DemoOptions, ingress: livekit.IngressInfo): Promise<Source> {
  // 127.0.0.1 instead of the name: the fallback ffmpeg from npm crashes on host names.
  const target = `${ingress.url.replace('//localhost', '//127.0.0.1')}/${ingress.streamKey}`;
  const platform = options.viaPlatform
    ? await startRtmpPlatform({ program: process.argv[1] ?? '', pushUrl: target })
    : undefined;
  say(
    platform === undefined
      ? `ffmpeg pushes 720p30 H.264 + AAC to ${ingress.url}`
      : `ffmpeg pushes 720p30 H.264 + AAC to node-media-server, which pushes on to ${ingress.url}`,
  );
  const push = pushDemoStream({
    ffmpegPath: options.tools.ffmpegPath,
    url: platform?.publishUrl ?? target,
    maxSeconds: options.seconds + (PUBLISH_TIMEOUT_MS + START_TIMEOUT_MS) / 1000,
  });
  const failed = push.ended.then(({ lastWords }): never => {
    throw new ServiceError('unavailable', `the stream ended early: ${lastWords.trim() || 'no reason given'}`);
  });
  failed.catch(() => undefined);
  return {
    failed,
    async stop() {
      await push.stop();
      await platform?.close();
    },
  };
}

function publishedTracks(api: LiveKitApi, signal: AbortSignal): Promise<livekit.TrackInfo[]> {
  return poll(PUBLISH_TIMEOUT_MS, `no track appeared in room "${ROOM}"`, signal, async () => {
    const participants = await api.listParticipants(ROOM).catch(() => []);
    const tracks = participants.find(({ identity }) => identity === IDENTITY)?.tracks ?? [];
    const kinds = new Set(tracks.map((track) => track.type));
    return kinds.has(livekit.TrackType.VIDEO) && kinds.has(livekit.TrackType.AUDIO) ? tracks : undefined;
  });
}

type Job = { egressId: string; expected: Expectation };

/** Starts both recordings, waits, stops them. Resolves with the files. */
async function recordBoth(
  api: LiveKitApi,
  tracks: livekit.TrackInfo[],
  { seconds, tools, signal }: DemoOptions,
): Promise<(Job & { location: string })[]> {
  const { width, height } = DEMO_PICTURE;
  const expected = { video: 'h264', width, height, minSeconds: seconds * MIN_RECORDED_SHARE };
  const video = tracks.find((track) => track.type === livekit.TrackType.VIDEO);
  const jobs: Job[] = [];
  if (tools.chromiumPath === undefined) {
    say('without Chromium there is no room composite; recording the track only');
  } else {
    const { egressId } = await api.startRoomComposite({
      roomName: ROOM,
      layout: 'grid',
      fileOutputs: [{ filepath: 'demo/{room_name}-{time}-composite.mp4' }],
    });
    jobs.push({ egressId, expected: { what: 'room composite', audio: 'aac', ...expected } });
  }
  const { egressId } = await api.startTrack({
    roomName: ROOM,
    trackId: video?.sid ?? '',
    output: { case: 'file', value: { filepath: 'demo/{room_name}-{time}-track.mp4' } },
  });
  jobs.push({ egressId, expected: { what: 'camera track, untouched', audio: undefined, ...expected } });

  const { EGRESS_ACTIVE, EGRESS_COMPLETE } = livekit.EgressStatus;
  await Promise.all(jobs.map((job) => reach(api, job, START_TIMEOUT_MS, EGRESS_ACTIVE, signal)));
  say(`recording for ${seconds} s: ${jobs.map((job) => job.expected.what).join(' and ')}`);
  for (let second = seconds; second > 0; second -= 1) {
    progress(`  ${second} s left`);
    await delay(1000, undefined, { signal });
  }
  progress('');
  await Promise.all(jobs.map((job) => api.stopEgress(job.egressId)));
  say('stopping; the files are being finished');
  const ended = await Promise.all(
    jobs.map((job) => reach(api, job, FINISH_TIMEOUT_MS, EGRESS_COMPLETE, signal)),
  );
  return jobs.map((job, index) => ({ ...job, location: ended[index]?.fileResults[0]?.location ?? '' }));
}

/** Waits for a status. @throws ServiceError when the job ends in another one. */
function reach(
  api: LiveKitApi,
  { egressId, expected: { what } }: Job,
  timeoutMs: number,
  status: livekit.EgressStatus,
  signal: AbortSignal,
): Promise<livekit.EgressInfo> {
  return poll(timeoutMs, `${what}: not ${livekit.EgressStatus[status]} in time`, signal, async () => {
    const [info] = await api.listEgress({ egressId });
    if (info !== undefined && isEnded(info.status) && info.status !== status) {
      const reason = info.error || info.details;
      throw new ServiceError('aborted', `${what}: ${livekit.EgressStatus[info.status]}: ${reason}`);
    }
    return info?.status === status ? info : undefined;
  });
}

async function poll<T>(
  timeoutMs: number,
  failure: string,
  signal: AbortSignal,
  attempt: () => Promise<T | undefined>,
): Promise<T> {
  const deadlineMs = Date.now() + timeoutMs;
  while (Date.now() < deadlineMs) {
    const result = await attempt();
    if (result !== undefined) {
      return result;
    }
    await delay(POLL_MS, undefined, { signal });
  }
  throw new ServiceError('deadline_exceeded', `${failure} (${timeoutMs / 1000} s)`);
}

function describeTrack(track: livekit.TrackInfo): string {
  const size = track.width > 0 ? ` ${track.width}x${track.height}` : '';
  return `${track.mimeType}${size}`;
}

function since(startedAtMs: number): string {
  return `${((Date.now() - startedAtMs) / 1000).toFixed(1)} s`;
}
