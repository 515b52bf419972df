import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { AccessToken, EgressClient, EgressStatus, type EgressInfo } from 'livekit-server-sdk';
import { encodeClip, publishClip } from './clip-publisher.ts';
import { startNginxRtmp, type NginxRtmp } from './nginx-rtmp.ts';
import { stopJobs, until } from './published-room.ts';
import { API_KEY, API_SECRET, startSluiceProcess, type SluiceProcess } from './sluice-process.ts';
import { startTlsFront } from './tls-front.ts';

export type ClipRoom = {
  sluice: SluiceProcess;
  egress: EgressClient;
  room: string;
  /** Who publishes the flash/beep clip, 640×360 at 30 frames per second. */
  identity: string;
  tracks: { videoTrackId: string; audioTrackId: string };
  nginx: NginxRtmp;
  /** The same nginx through TLS, by a certificate that only this program trusts. */
  rtmpsUrl: (key: string) => string;
  joinToken: (identity: string, room: string) => Promise<string>;
  /** Resolves with the record once the condition holds. @throws Error when the job ends as FAILED or ABORTED. */
  reach: (egressId: string, condition: (info: EgressInfo) => boolean) => Promise<EgressInfo>;
  workDir: string;
  /** Stops what a failed test has left running. */
  stopJobs(): Promise<void>;
  close(): Promise<void>;
};

const PICTURE = { width: 640, height: 360, framesPerSecond: 30, seconds: 10 };
/** The counter in the pictures starts over after so many. */
export const CLIP_FRAMES = PICTURE.framesPerSecond * PICTURE.seconds;
const REACH_TIMEOUT_MS = 60_000;

/** The built program, a participant who publishes the clip in a loop, and nginx-rtmp as streaming platform. */
export async function startClipRoom(config: Record<string, unknown> = {}): Promise<ClipRoom> {
  const [room, identity] = ['clip', 'alice'];
  const workDir = await mkdtemp(path.join(tmpdir(), 'sluice-clip-room-'));
  const closers: (() => Promise<unknown>)[] = [() => rm(workDir, { recursive: true, force: true })];
  const close = async (): Promise<void> => {
    for (const closer of closers.splice(0).reverse()) {
      await closer();
    }
  };
  try {
    const clip = await encodeClip({ ...PICTURE, bitrateKbps: 900, keyFrameEvery: 15 });
    const nginx = await startNginxRtmp();
    closers.push(() => nginx.close());
    const front = await startTlsFront(nginx.port);
    closers.push(() => front.close());
    const caFile = path.join(workDir, 'ca.pem');
    await writeFile(caFile, front.ca);
    const sluice = await startSluiceProcess({ config, env: { NODE_EXTRA_CA_CERTS: caFile } });
    closers.push(() => sluice.cleanUp());
    const joinToken = (who: string, roomName: string): Promise<string> => {
      const token = new AccessToken(API_KEY, API_SECRET, { identity: who });
      token.addGrant({ roomJoin: true, room: roomName });
      return token.toJwt();
    };
    const publisher = await publishClip({
      ...{ wsUrl: sluice.wsUrl, token: await joinToken(identity, room), clip },
    });
    closers.push(() => publisher.close());
    const [videoTrackId = '', audioTrackId = ''] = publisher.trackSids;
    const egress = new EgressClient(sluice.apiUrl, API_KEY, API_SECRET);
    return {
      ...{ sluice, egress, room, identity, nginx, joinToken, workDir, close },
      tracks: { videoTrackId, audioTrackId },
      stopJobs: () => stopJobs(egress),
      rtmpsUrl: (key) => `rtmps://localhost:${front.port}/live/${key}`,
      reach: (egressId, condition) =>
        until(REACH_TIMEOUT_MS, `${egressId}: ${String(condition)}`, async () => {
          const [info] = await egress.listEgress({ egressId });
          if (info !== undefined && !condition(info) && info.status > EgressStatus.EGRESS_COMPLETE) {
            throw new Error(`${egressId} ended as ${EgressStatus[info.status]}: ${info.error}`);
          }
          return info !== undefined && condition(info) ? info : undefined;
        }),
    };
  } catch (error) {
    await close();
    throw error;
  }
}
