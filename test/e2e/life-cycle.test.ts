import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import {
  DirectFileOutput,
  EgressClient,
  EgressStatus,
  EncodedFileOutput,
  IngressClient,
  IngressInput,
  RoomServiceClient,
  TrackType,
  type EgressInfo,
} from 'livekit-server-sdk';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BASELINE_720P, fixtureFile } from '../../fixtures/generate.ts';
import { ffprobe, streamOf } from '../support/ffprobe.ts';
import { pushFile } from '../support/rtmp-push.ts';
import { API_KEY, API_SECRET, startSluiceProcess, type SluiceProcess } from '../support/sluice-process.ts';

const ROOM = 'studio';

describe('life cycle', () => {
  const cleanUps: (() => Promise<unknown>)[] = [];
  let sluice: SluiceProcess;
  let egress: EgressClient;
  let rooms: RoomServiceClient;
  let videoSid: string;

  beforeEach(async () => {
    const fixture = await fixtureFile(BASELINE_720P);
    sluice = await startSluiceProcess();
    cleanUps.push(() => sluice.cleanUp());
    egress = new EgressClient(sluice.apiUrl, API_KEY, API_SECRET);
    rooms = new RoomServiceClient(sluice.apiUrl, API_KEY, API_SECRET);
    const ingress = await new IngressClient(sluice.apiUrl, API_KEY, API_SECRET).createIngress(
      IngressInput.RTMP_INPUT,
      { roomName: ROOM, participantIdentity: 'obs' },
    );
    const push = pushFile(fixture, `rtmp://127.0.0.1:${sluice.rtmpPort}/live/${ingress.streamKey}`);
    cleanUps.push(() => push.stop());
    await expect
      .poll(async () => (await rooms.listParticipants(ROOM).catch(() => []))[0]?.tracks.length, {
        timeout: 20_000,
      })
      .toBe(2);
    const [obs] = await rooms.listParticipants(ROOM);
    videoSid = obs?.tracks.find((track) => track.type === TrackType.VIDEO)?.sid ?? '';
  }, 240_000);
  afterEach(async () => {
    for (const cleanUp of cleanUps.splice(0).reverse()) {
      await cleanUp();
    }
  });

  const startTrack = (name: string): Promise<EgressInfo> =>
    egress.startTrackEgress(ROOM, new DirectFileOutput({ filepath: `${name}.mp4` }), videoSid);
  const statusOf = async (egressId: string): Promise<string> => {
    const [info] = await egress.listEgress({ egressId });
    return info === undefined ? 'none' : `${EgressStatus[info.status]} ${info.error}`.trim();
  };
  const active = (egressId: string): Promise<void> =>
    expect.poll(() => statusOf(egressId), { timeout: 45_000, interval: 200 }).toBe('EGRESS_ACTIVE');
  const playable = async (name: string): Promise<void> => {
    const probe = await ffprobe(path.join(sluice.recordingsDir, `${name}.mp4`));
    expect(streamOf(probe, 'video').codec_name).toBe('h264');
    expect(Number(streamOf(probe, 'video').nb_read_packets)).toBeGreaterThan(30);
  };
  const recordFor = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

  it(
    'finishes running recordings on Ctrl-C and leaves no process and no temporary file',
    { timeout: 150_000 },
    async () => {
      const composite = await egress.startRoomCompositeEgress(ROOM, {
        file: new EncodedFileOutput({ filepath: 'all.mp4' }),
      });
      const track = await startTrack('track');
      await Promise.all([active(composite.egressId), active(track.egressId)]);
      expect((await sluice.descendants()).length).toBeGreaterThanOrEqual(3);
      await recordFor(4000);
      expect(await sluice.end('SIGINT')).toBe(0);
      expect(await sluice.descendants()).toEqual([]);
      expect(await readdir(sluice.tmpDir)).toEqual([]);
      await playable('track');
      await playable('all');
      expect(
        (await readdir(sluice.recordingsDir)).filter((name) => !/^(all|track)\.(mp4|json)$/.test(name)),
      ).toEqual([]);
    },
  );

  it(
    'loses one job when its process is killed: the others go on, and its file stays and plays',
    { timeout: 150_000 },
    async () => {
      const before = new Set(await sluice.descendants());
      const victim = await startTrack('victim');
      await active(victim.egressId);
      const victimPids = (await sluice.descendants()).filter((pid) => !before.has(pid));
      const survivor = await startTrack('survivor');
      await active(survivor.egressId);
      await recordFor(4000);
      const handler = await firstHandler(victimPids);
      process.kill(handler, 'SIGKILL');
      await expect
        .poll(() => statusOf(victim.egressId), { timeout: 20_000, interval: 200 })
        .toMatch(/^EGRESS_FAILED .+/);
      expect(await statusOf(survivor.egressId)).toBe('EGRESS_ACTIVE');
      expect(
        (await rooms.listParticipants(ROOM)).find(({ identity }) => identity === 'obs')?.tracks,
      ).toHaveLength(2);
      await egress.stopEgress(survivor.egressId);
      await expect
        .poll(() => statusOf(survivor.egressId), { timeout: 30_000, interval: 200 })
        .toBe('EGRESS_COMPLETE');
      await playable('survivor');
      await playable('victim');
    },
  );
});

/** The job's handler among the processes that came with it. */
async function firstHandler(pids: number[]): Promise<number> {
  for (const pid of pids) {
    const commandLine = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    if (commandLine.includes('egress-handler')) {
      return pid;
    }
  }
  throw new Error('no egress handler process found');
}
