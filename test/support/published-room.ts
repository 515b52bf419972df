import {
  EgressClient,
  EgressStatus,
  IngressClient,
  IngressInput,
  RoomServiceClient,
  TrackType,
  type EgressInfo,
  type TrackInfo,
} from 'livekit-server-sdk';
import { setTimeout as delay } from 'node:timers/promises';
import { BASELINE_720P, fixtureFile } from '../../fixtures/generate.ts';
import { pushFile } from './rtmp-push.ts';
import { API_KEY, API_SECRET, startSluiceProcess, type SluiceProcess } from './sluice-process.ts';

export const ROOM = 'studio';
const PUBLISH_TIMEOUT_MS = 30_000;
const POLL_MS = 150;

export type PublishedRoom = {
  sluice: SluiceProcess;
  rooms: RoomServiceClient;
  ingress: IngressClient;
  egress: EgressClient;
  /** The file that is being pushed. */
  fixture: string;
  tracks: TrackInfo[];
  videoSid: string;
  rtmpUrl: (streamKey: string) => string;
  /** Resolves with the record once the job has the status. @throws Error when it ends in another one. */
  reach: (egressId: string, status: EgressStatus, timeoutMs?: number) => Promise<EgressInfo>;
  /** Stops what a failed test has left running. */
  stopJobs: () => Promise<void>;
  close(): Promise<void>;
};

/** The built program with one room into which ffmpeg pushes the baseline fixture as "obs". */
export async function startPublishedRoom(): Promise<PublishedRoom> {
  const fixture = await fixtureFile(BASELINE_720P);
  const sluice = await startSluiceProcess();
  const rooms = new RoomServiceClient(sluice.apiUrl, API_KEY, API_SECRET);
  const ingress = new IngressClient(sluice.apiUrl, API_KEY, API_SECRET);
  const egress = new EgressClient(sluice.apiUrl, API_KEY, API_SECRET);
  const rtmpUrl = (streamKey: string): string => `rtmp://127.0.0.1:${sluice.rtmpPort}/live/${streamKey}`;
  const { streamKey } = await ingress.createIngress(IngressInput.RTMP_INPUT, {
    name: 'camera',
    roomName: ROOM,
    participantIdentity: 'obs',
    participantName: 'OBS',
  });
  const push = pushFile(fixture, rtmpUrl(streamKey), { loop: true });
  const close = async (): Promise<void> => {
    await push.stop();
    await sluice.cleanUp();
  };
  try {
    const tracks = await until(PUBLISH_TIMEOUT_MS, `tracks in room ${ROOM}`, async () => {
      const [obs] = await rooms.listParticipants(ROOM).catch(() => []);
      return obs?.tracks.length === 2 ? obs.tracks : undefined;
    });
    return {
      sluice,
      rooms,
      ingress,
      egress,
      fixture,
      tracks,
      videoSid: tracks.find((track) => track.type === TrackType.VIDEO)?.sid ?? '',
      rtmpUrl,
      reach: (egressId, status, timeoutMs = 60_000) =>
        until(timeoutMs, `${egressId} to be ${EgressStatus[status]}`, async () => {
          const [info] = await egress.listEgress({ egressId });
          if (info !== undefined && info.status !== status && info.status >= EgressStatus.EGRESS_COMPLETE) {
            throw new Error(`${egressId} ended as ${EgressStatus[info.status]}: ${info.error}`);
          }
          return info?.status === status ? info : undefined;
        }),
      stopJobs: () => stopJobs(egress),
      close,
    };
  } catch (error) {
    const log = sluice.log();
    await close();
    throw new Error(`${String(error)}\n${log.slice(-3000)}`, { cause: error });
  }
}

/** Ends every job that still runs; most tests have ended theirs. */
export async function stopJobs(egress: EgressClient): Promise<void> {
  const running = await egress.listEgress({ active: true }).catch(() => []);
  await Promise.all(running.map(({ egressId }) => egress.stopEgress(egressId).catch(() => undefined)));
}

/** Asks again until there is an answer. */
export async function until<T>(
  timeoutMs: number,
  what: string,
  attempt: () => Promise<T | undefined>,
): Promise<T> {
  const deadlineMs = Date.now() + timeoutMs;
  while (Date.now() < deadlineMs) {
    const result = await attempt();
    if (result !== undefined) {
      return result;
    }
    await delay(POLL_MS);
  }
  throw new Error(`waited ${timeoutMs} ms in vain for ${what}`);
}
