import { setTimeout as delay } from 'node:timers/promises';
import { StreamInfo_Status as Status } from '@livekit/protocol';
import {
  AccessToken,
  EgressClient,
  EgressStatus,
  StreamOutput,
  StreamProtocol,
  type EgressInfo,
} from 'livekit-server-sdk';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { encodeClip, publishClip } from '../support/clip-publisher.ts';
import { analyzeFlashBeep } from '../support/flash-beep.ts';
import { startNginxRtmp, type NginxRtmp } from '../support/nginx-rtmp.ts';
import { freePort } from '../support/ports.ts';
import { freshName } from '../support/fresh-name.ts';
import { stopJobs } from '../support/published-room.ts';
import { API_KEY, API_SECRET, startSluiceProcess, type SluiceProcess } from '../support/sluice-process.ts';

const ROOM = 'streamed';

let sluice: SluiceProcess;
let nginx: NginxRtmp;
let egress: EgressClient;
let publisher: Awaited<ReturnType<typeof publishClip>>;
let tracks: { videoTrackId: string; audioTrackId: string };

beforeAll(async () => {
  const [started, platform, clip] = await Promise.all([
    startSluiceProcess(),
    startNginxRtmp(),
    encodeClip({ width: 640, height: 360, framesPerSecond: 30, seconds: 10, bitrateKbps: 700 }),
  ]);
  [sluice, nginx] = [started, platform];
  egress = new EgressClient(sluice.apiUrl, API_KEY, API_SECRET);
  const token = new AccessToken(API_KEY, API_SECRET, { identity: 'alice' });
  token.addGrant({ roomJoin: true, room: ROOM });
  publisher = await publishClip({ wsUrl: sluice.wsUrl, token: await token.toJwt(), clip });
  const [video, audio] = publisher.trackSids;
  tracks = { videoTrackId: video ?? '', audioTrackId: audio ?? '' };
}, 240_000);

afterEach(() => stopJobs(egress));
afterAll(async () => {
  await publisher.close();
  await sluice.cleanUp();
  await nginx.close();
});

async function until(egressId: string, condition: (info: EgressInfo) => boolean): Promise<EgressInfo> {
  const deadlineMs = Date.now() + 60_000;
  for (;;) {
    const [info] = await egress.listEgress({ egressId });
    if (info !== undefined && condition(info)) {
      return info;
    }
    if (Date.now() > deadlineMs) {
      throw new Error(`egress stays at ${JSON.stringify(info?.toJson())}`);
    }
    await delay(100);
  }
}

const statuses = (info: EgressInfo): number[] => info.streamResults.map(({ status }) => status);

describe('streams of a running job', () => {
  it(
    'are added, removed and outlive each other; the last one takes the job along',
    { timeout: 150_000 },
    async () => {
      const [SECRET, SECOND] = [`sk-${freshName('first')}-secret`, `sk-${freshName('second')}-secret`];
      const refused = `rtmp://127.0.0.1:${await freePort()}/live/${SECRET}`;
      const { egressId } = await egress.startTrackCompositeEgress(
        ROOM,
        { stream: new StreamOutput({ protocol: StreamProtocol.RTMP, urls: [nginx.url(SECRET), refused] }) },
        tracks,
      );
      const running = await until(
        egressId,
        (info) => statuses(info)[1] === (Status.FAILED as number) && info.streamResults[0]?.startedAt !== 0n,
      );
      expect(running.status).toBe(EgressStatus.EGRESS_ACTIVE);
      expect(running.streamResults[1]?.error).toMatch(/connection refused/);

      await expect(egress.updateStream(egressId, ['http://example.com/live'], [])).rejects.toMatchObject({
        status: 400,
        message: expect.stringContaining('invalid url') as string,
      });
      await expect(egress.updateStream(egressId, [], [nginx.url('never-there')])).rejects.toMatchObject({
        status: 404,
        message: expect.stringMatching(/stream rtmp:.*\{nev\.\.\.ere\} not found/) as string,
      });
      await expect(egress.updateStream(egressId, [nginx.url(SECRET)], [])).rejects.toMatchObject({
        status: 409,
      });
      expect((await egress.updateStream(egressId, [nginx.url(SECOND)], [])).streamResults).toHaveLength(3);
      await until(egressId, (info) => info.streamResults[2]?.startedAt !== 0n);
      await nginx.holds(SECOND, 10);
      const removed = await egress.updateStream(egressId, [], [nginx.url(SECRET)]);
      expect(statuses(removed)).toEqual([Status.FINISHED, Status.FAILED, Status.ACTIVE]);
      await nginx.holds(SECOND, 12);
      await egress.updateStream(egressId, [], [nginx.url(SECOND)]);
      const ended = await until(egressId, (info) => info.status > EgressStatus.EGRESS_ENDING);
      expect(ended).toMatchObject({
        status: EgressStatus.EGRESS_COMPLETE,
        details: 'End reason: All streams stopped',
        error: '',
      });
      expect(statuses(ended)).toEqual([Status.FINISHED, Status.FAILED, Status.FINISHED]);
      for (const key of [SECRET, SECOND]) {
        const report = await analyzeFlashBeep(await nginx.recorded(key));
        expect(report.durationS).toBeGreaterThan(8);
        expect(report.flashRatio).toBeGreaterThan(0.7);
        expect(report.beepRatio).toBeGreaterThan(0.7);
        expect(Math.abs(report.medianOffsetMs)).toBeLessThan(100);
      }
      const told = JSON.stringify(await egress.listEgress()) + sluice.log();
      expect(told).not.toMatch(new RegExp(`${SECRET}|${SECOND}`));
    },
  );

  it('fail the job when none of them can be reached', async () => {
    const { egressId } = await egress.startTrackCompositeEgress(
      ROOM,
      { stream: new StreamOutput({ urls: [nginx.url(freshName('refused'))] }) },
      tracks,
    );
    const ended = await until(egressId, (info) => info.status > EgressStatus.EGRESS_ENDING);
    expect(ended).toMatchObject({ status: EgressStatus.EGRESS_FAILED, errorCode: 503 });
    expect(ended.error).toMatch(/127\.0\.0\.1 .*publish/);
    expect(statuses(ended)).toEqual([Status.FAILED]);
  });
});
