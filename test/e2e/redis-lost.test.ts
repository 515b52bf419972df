import { setTimeout as delay } from 'node:timers/promises';
import {
  DirectFileOutput,
  EgressClient,
  EgressStatus,
  IngressClient,
  IngressInput,
  RoomServiceClient,
  TrackType,
} from 'livekit-server-sdk';
import { describe, expect, it, onTestFinished } from 'vitest';
import { BASELINE_720P, fixtureFile } from '../../fixtures/generate.ts';
import { ffprobe, streamOf } from '../support/ffprobe.ts';
import { until } from '../support/published-room.ts';
import { startRedis, type RedisServer } from '../support/redis-server.ts';
import { pushFile } from '../support/rtmp-push.ts';
import { API_KEY, API_SECRET, startSluiceProcess, type SluiceProcess } from '../support/sluice-process.ts';
import { startRole } from '../support/worker-process.ts';

const ROOM = 'studio';
const AWAY_MS = 4_000;

describe('Redis', () => {
  /** The program with a Redis of its own, and an encoder that publishes into the room. */
  async function startWithRedis(): Promise<{ redis: RedisServer; sluice: SluiceProcess }> {
    const fixture = await fixtureFile(BASELINE_720P);
    const redis = await startRedis({ isPersistent: true });
    onTestFinished(() => redis.close());
    const sluice = await startSluiceProcess({ config: { redis: { address: redis.address } } });
    onTestFinished(() => sluice.cleanUp());
    const ingress = new IngressClient(sluice.apiUrl, API_KEY, API_SECRET);
    const { streamKey } = await ingress.createIngress(IngressInput.RTMP_INPUT, {
      name: 'camera',
      roomName: ROOM,
      participantIdentity: 'obs',
      participantName: 'OBS',
    });
    const push = pushFile(fixture, `rtmp://127.0.0.1:${sluice.rtmpPort}/live/${streamKey}`, { loop: true });
    onTestFinished(() => push.stop());
    return { redis, sluice };
  }

  it('away at the start: the program says where it looked and ends', async () => {
    const redisAway = { address: '127.0.0.1:1', password: 'not-to-be-seen' };
    const problem = await startRole('egress', { redis: redisAway, ws_url: 'ws://127.0.0.1:1' }).then(
      () => 'it started',
      String,
    );
    expect(problem).toMatch(/Redis at 127\.0\.0\.1:1/);
    expect(problem).not.toContain('not-to-be-seen');
  });

  it('lost in flight: rooms and recordings go on, the API says so, and all is reported afterwards', async () => {
    const { redis, sluice } = await startWithRedis();
    const { apiUrl } = sluice;
    const rooms = new RoomServiceClient(apiUrl, API_KEY, API_SECRET);
    const egress = new EgressClient(apiUrl, API_KEY, API_SECRET);
    const videoSid = await until(40_000, 'the track', async () => {
      const [obs] = await rooms.listParticipants(ROOM).catch(() => []);
      return obs?.tracks.find(({ type }) => type === TrackType.VIDEO)?.sid;
    });
    const { egressId } = await egress.startTrackEgress(
      ROOM,
      new DirectFileOutput({ filepath: 'through.mp4' }),
      videoSid,
    );
    const status = async (): Promise<EgressStatus | undefined> =>
      (await egress.listEgress({ egressId }))[0]?.status;
    await expect.poll(status, { timeout: 40_000 }).toBe(EgressStatus.EGRESS_ACTIVE);
    await delay(2_000);

    await redis.kill();
    await expect.poll(async () => (await fetch(`${apiUrl}/readyz`)).status, { timeout: 15_000 }).toBe(503);
    await expect(egress.listEgress({ egressId })).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringMatching(/Redis/) as string,
    });
    await delay(AWAY_MS);
    await redis.restart();
    await expect.poll(async () => (await fetch(`${apiUrl}/readyz`)).status, { timeout: 40_000 }).toBe(200);

    expect(await status()).toBe(EgressStatus.EGRESS_ACTIVE);
    expect(await rooms.listParticipants(ROOM)).toHaveLength(1);
    await delay(2_000);
    await egress.stopEgress(egressId);
    await expect.poll(status, { timeout: 40_000 }).toBe(EgressStatus.EGRESS_COMPLETE);
    const [info] = await egress.listEgress({ egressId });
    const file = info?.fileResults[0]?.location ?? '';
    const recordedS = Number(info?.fileResults[0]?.duration ?? 0) / 1e9;
    // What was recorded while Redis was away is in it, without a hole.
    expect(recordedS).toBeGreaterThan((AWAY_MS + 3_000) / 1000);
    const video = streamOf(await ffprobe(file), 'video');
    expect(Number(video.nb_frames)).toBeGreaterThan(recordedS * 30 * 0.95);
  });
});
