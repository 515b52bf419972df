import { setTimeout as delay } from 'node:timers/promises';
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
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { BASELINE_720P, fixtureFile } from '../../fixtures/generate.ts';
import { expectCaptured } from '../support/captured-report.ts';
import { ffprobe, streamOf } from '../support/ffprobe.ts';
import { analyzeFlashBeep } from '../support/flash-beep.ts';
import { watchMachine } from '../support/machine-load.ts';
import { stopJobs, until } from '../support/published-room.ts';
import { freshName } from '../support/fresh-name.ts';
import { startRedis, type RedisServer } from '../support/redis-server.ts';
import { pushFile } from '../support/rtmp-push.ts';
import { API_KEY, API_SECRET } from '../support/sluice-process.ts';
import { startWebhookSink, type WebhookSink } from '../support/webhook-receiver.ts';
import { startRole, type RoleProcess } from '../support/worker-process.ts';

const ROOM = 'studio';
const { EGRESS_ACTIVE, EGRESS_COMPLETE, EGRESS_FAILED } = EgressStatus;

/** LiveKit's deployment: server, ingress and two egress workers on one Redis, each a process of its own. */
describe('many processes', () => {
  const processes: RoleProcess[] = [];
  let redis: RedisServer | undefined;
  let sink: WebhookSink;
  /** Those that take jobs. */
  let workers: RoleProcess[] = [];
  let startWorker: () => Promise<RoleProcess>;
  /** Tests kill and drain workers, also those that are tried again. */
  const haveWorkers = async (count: number): Promise<void> => {
    while (workers.length < count) {
      workers.push(await startWorker());
    }
  };
  let rooms: RoomServiceClient;
  let egress: EgressClient;
  let push: ReturnType<typeof pushFile> | undefined;
  let videoSid = '';

  const start = async (...args: Parameters<typeof startRole>): Promise<RoleProcess> => {
    const process = await startRole(...args);
    processes.push(process);
    return process;
  };

  beforeAll(async () => {
    const fixture = await fixtureFile(BASELINE_720P);
    redis = await startRedis();
    sink = await startWebhookSink(API_KEY, API_SECRET);
    const shared = { redis: { address: redis.address } };
    const server = await start('server', {
      ...shared,
      webhook: { urls: [sink.url], api_key: API_KEY },
      ingress: { rtmp_base_url: 'rtmp://127.0.0.1/live' },
    });
    const worker = { ...shared, ws_url: server.healthUrl.replace('http', 'ws') };
    const ingress = await start('ingress', { ...worker, ingress: { rtmp_port: 0, whip_port: 0 } });
    // A node has room for one page (an idle one always has), so two pages go to two nodes.
    const cost = { room_composite: 1_000, track: 0.001 };
    startWorker = () => start('egress', { ...worker, egress: { cpu_cost: cost } });
    await haveWorkers(2);
    rooms = new RoomServiceClient(server.healthUrl, API_KEY, API_SECRET);
    egress = new EgressClient(server.healthUrl, API_KEY, API_SECRET);
    const { streamKey } = await new IngressClient(server.healthUrl, API_KEY, API_SECRET).createIngress(
      IngressInput.RTMP_INPUT,
      { name: 'camera', roomName: ROOM, participantIdentity: 'obs', participantName: 'OBS' },
    );
    const { ports } = await ingress.status();
    push = pushFile(fixture, `rtmp://127.0.0.1:${ports['rtmp'] ?? 0}/live/${streamKey}`, { loop: true });
    await sink.event(({ event }) => event === 'ingress_started');
    videoSid = await until(40_000, `tracks in room ${ROOM}`, async () => {
      const [obs] = await rooms.listParticipants(ROOM).catch(() => []);
      return obs?.tracks.length === 2
        ? obs.tracks.find(({ type }) => type === TrackType.VIDEO)?.sid
        : undefined;
    });
  }, 240_000);

  afterEach(() => stopJobs(egress));
  afterAll(async () => {
    await push?.stop();
    await Promise.all(processes.map((process) => process.cleanUp()));
    await sink.close();
    await redis?.close();
  });

  const record = async (egressId: string): Promise<EgressInfo | undefined> =>
    (await egress.listEgress({ egressId }))[0];
  const reach = async (egressId: string, status: EgressStatus, timeoutMs = 60_000): Promise<EgressInfo> => {
    return until(timeoutMs, `${egressId} to be ${EgressStatus[status]}`, async () => {
      const info = await record(egressId);
      if (info !== undefined && info.status !== status && info.status >= EGRESS_COMPLETE) {
        throw new Error(`${egressId} ended as ${EgressStatus[info.status]}: ${info.error}`);
      }
      return info?.status === status ? info : undefined;
    });
  };
  /** Which of the workers runs the job. */
  const ownerOf = (egressId: string): RoleProcess | undefined =>
    workers.find((worker) => worker.log().includes(egressId));
  const events = (egressId: string): string[] =>
    sink.received
      .filter(({ event }) => event.egressInfo?.egressId === egressId)
      .map(({ event }) => `${event.event} ${EgressStatus[event.egressInfo?.status ?? 0]}`);

  it('are ready, and say what they are', async () => {
    for (const process of processes) {
      const ready = await fetch(`${process.healthUrl}/readyz`);
      expect([ready.status, await ready.json()]).toMatchObject([200, { checks: { redis: true } }]);
      expect(await (await fetch(`${process.healthUrl}/metrics`)).text()).toContain('livekit_');
    }
  });

  it('refuse a second server on the same Redis, by name', async () => {
    await expect(startRole('server', { redis: { address: redis?.address ?? '' } })).rejects.toThrow(
      /another server \(ND_\w+\) uses the Redis/,
    );
  });

  it('record: jobs on workers, statuses and webhooks at the server', async () => {
    const composite = await egress.startRoomCompositeEgress(ROOM, {
      file: new EncodedFileOutput({ filepath: `${freshName('room')}.mp4` }),
    });
    const track = await egress.startTrackEgress(
      ROOM,
      new DirectFileOutput({ filepath: `${freshName('track')}.mp4` }),
      videoSid,
    );
    await Promise.all([reach(composite.egressId, EGRESS_ACTIVE), reach(track.egressId, EGRESS_ACTIVE)]);
    const load = watchMachine();
    await delay(8_000);
    const wasBusy = load();
    await Promise.all([egress.stopEgress(composite.egressId), egress.stopEgress(track.egressId)]);
    const [all, one] = await Promise.all([
      reach(composite.egressId, EGRESS_COMPLETE),
      reach(track.egressId, EGRESS_COMPLETE),
    ]);
    const report = await analyzeFlashBeep(all.fileResults[0]?.location ?? '');
    expectCaptured(report, { recordedS: 8, wasBusy, minFps: 20, minRatio: 0.85 });
    expect(streamOf(await ffprobe(one.fileResults[0]?.location ?? ''), 'video')).toMatchObject({
      codec_name: 'h264',
    });
    for (const { egressId } of [composite, track]) {
      await sink.event((event) => event.event === 'egress_ended' && event.egressInfo?.egressId === egressId);
      expect(events(egressId)).toEqual([
        'egress_started EGRESS_STARTING',
        'egress_updated EGRESS_ACTIVE',
        'egress_updated EGRESS_ENDING',
        'egress_ended EGRESS_COMPLETE',
      ]);
    }
  });

  it('survive a killed worker: its jobs are FAILED, those of the other go on', async () => {
    await haveWorkers(2);
    const jobs = await Promise.all(
      ['one', 'two'].map((name) =>
        egress.startRoomCompositeEgress(ROOM, {
          file: new EncodedFileOutput({ filepath: `${freshName(name)}.mp4` }),
        }),
      ),
    );
    await Promise.all(jobs.map(({ egressId }) => reach(egressId, EGRESS_ACTIVE)));
    const [first, second] = jobs.map(({ egressId }) => egressId);
    const lost = ownerOf(first ?? '') ?? expect.fail('no worker runs the first job');
    const other = ownerOf(second ?? '') ?? expect.fail('no worker runs the second job');
    expect(other.pid).not.toBe(lost.pid);

    await delay(3_000);
    const load = watchMachine();
    const killedAtMs = Date.now();
    workers = workers.filter((worker) => worker !== lost);
    lost.signal('SIGKILL');
    const failed = await reach(first ?? '', EGRESS_FAILED);
    const tookMs = Date.now() - killedAtMs;
    console.info(`a lost worker was noticed after ${(tookMs / 1000).toFixed(1)} s`);
    expect(failed.error).toMatch(/^egress node lost: no sign of life for \d+ s$/);
    expect(Number(failed.endedAt) / 1e6 - killedAtMs).toBeLessThan(load() ? 30_000 : 10_000);
    await sink.event(
      (event) => event.event === 'egress_ended' && event.egressInfo?.egressId === failed.egressId,
    );
    expect(events(first ?? '').at(-1)).toBe('egress_ended EGRESS_FAILED');

    expect((await record(second ?? ''))?.status).toBe(EGRESS_ACTIVE);
    await egress.stopEgress(second ?? '');
    const info = await reach(second ?? '', EGRESS_COMPLETE);
    // Two rooms were painted at once on this machine, and a test beside them: what counts is that this one went on.
    const report = await analyzeFlashBeep(info.fileResults[0]?.location ?? '');
    expect(report.flashesS.at(-1)).toBeGreaterThan(report.durationS - 6);
    expect(report.flashRatio).toBeGreaterThanOrEqual(0.3);
  });

  it('drain on SIGTERM: no new jobs, the running one ends by itself and is stored', async () => {
    await haveWorkers(1);
    const name = freshName('last');
    const output = new DirectFileOutput({ filepath: `${name}.mp4` });
    const job = await egress.startTrackEgress(ROOM, output, videoSid);
    await reach(job.egressId, EGRESS_ACTIVE);
    const draining = workers;
    workers = [];
    draining.forEach((worker) => {
      worker.signal('SIGTERM');
    });
    await expect
      .poll(
        () =>
          egress
            .startTrackEgress(ROOM, new DirectFileOutput({ filepath: `not-${name}.mp4` }), videoSid)
            .then((info) => egress.stopEgress(info.egressId).then(() => 'taken'))
            .catch((error: unknown) => String((error as { message?: string }).message)),
        { timeout: 40_000, interval: 500 },
      )
      .toMatch(/no response from servers/);
    await delay(4_000);
    expect((await record(job.egressId))?.status).toBe(EGRESS_ACTIVE);
    await egress.stopEgress(job.egressId);
    const info = await reach(job.egressId, EGRESS_COMPLETE);
    expect(Number(info.fileResults[0]?.size)).toBeGreaterThan(0);
    expect(await Promise.all(draining.map(({ exited }) => exited))).toEqual(draining.map(() => 0));
  });
});
