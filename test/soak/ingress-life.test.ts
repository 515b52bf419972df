import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { IngressState_Status } from '@livekit/protocol';
import {
  AccessToken,
  IngressClient,
  IngressInput,
  RoomServiceClient,
  type IngressInfo,
  type ParticipantInfo,
} from 'livekit-server-sdk';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { flashBeepInputs, passthroughH264 } from '../../fixtures/flash-beep.ts';
import { ffmpeg } from '../support/ffmpeg-encoder.ts';
import { freePort } from '../support/ports.ts';
import { until } from '../support/published-room.ts';
import { startRedis, type RedisServer } from '../support/redis-server.ts';
import { disposeRtcNode, RtcNodeViewer } from '../support/rtc-node-viewer.ts';
import { pushFile, type RtmpPush } from '../support/rtmp-push.ts';
import { API_KEY, API_SECRET } from '../support/sluice-process.ts';
import { startWebhookSink, type WebhookSink } from '../support/webhook-receiver.ts';
import { startRole, type RoleProcess } from '../support/worker-process.ts';

/** SOAK_FLAPS=100 by default: an encoder that is cut off every five seconds. */
const FLAPS = Number(process.env['SOAK_FLAPS'] ?? '100');
const FLAP_UP_MS = 3_000;
const FLAP_DOWN_MS = 2_000;
const FPS = 30;
const REDIS_AWAY_MS = 6_000;
/** A busy machine shows some pictures late; a stream that stopped shows none until Redis is back. */
const MAX_PAUSE_MS = 2_000;
const BACK_TIMEOUT_MS = 40_000;
const MAX_RSS_GROWTH_MB = 60;
const IDENTITY = 'obs';

function statusOf(info: IngressInfo | undefined): string | undefined {
  return IngressState_Status[info?.state?.status ?? -1];
}

/** LiveKit's deployment, with ports that stay when a process comes back. */
describe('an encoder that keeps trying', () => {
  let folder: string;
  let film: string;
  let redis: RedisServer;
  let sink: WebhookSink;
  let ports: { api: number; udp: number; rtmp: number };
  let server: RoleProcess;
  let ingress: RoleProcess;
  const viewers: RtcNodeViewer[] = [];

  const startServer = async (): Promise<RoleProcess> =>
    startRole('server', {
      ...{ redis: { address: redis.address }, port: ports.api, rtc: { udp_port: ports.udp, tcp_port: 0 } },
      ...{
        webhook: { urls: [sink.url], api_key: API_KEY },
        ingress: { rtmp_base_url: 'rtmp://127.0.0.1/live' },
      },
    });
  const startIngress = async (): Promise<RoleProcess> =>
    startRole('ingress', {
      ...{ redis: { address: redis.address }, ws_url: `ws://127.0.0.1:${ports.api}` },
      ingress: { rtmp_port: ports.rtmp, whip_port: 0 },
    });
  const api = (): { ingress: IngressClient; rooms: RoomServiceClient } => {
    const url = `http://127.0.0.1:${ports.api}`;
    return {
      ingress: new IngressClient(url, API_KEY, API_SECRET),
      rooms: new RoomServiceClient(url, API_KEY, API_SECRET),
    };
  };

  beforeAll(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'sluice-life-'));
    film = path.join(folder, 'film.flv');
    const picture = { width: 320, height: 180, framesPerSecond: FPS };
    await ffmpeg([
      ...flashBeepInputs({ ...picture, realTime: false }),
      ...['-t', '60', ...passthroughH264({ framesPerSecond: FPS, bitrateKbps: 300 }), '-c:a', 'aac', film],
    ]);
    redis = await startRedis({ isPersistent: true });
    sink = await startWebhookSink(API_KEY, API_SECRET);
    ports = { api: await freePort(), udp: await freePort(), rtmp: await freePort() };
    server = await startServer();
    ingress = await startIngress();
  }, 120_000);

  afterAll(async () => {
    await Promise.all(viewers.map((viewer) => viewer.close()));
    await disposeRtcNode();
    await ingress.cleanUp();
    await server.cleanUp();
    await sink.close();
    await redis.close();
    await rm(folder, { recursive: true, force: true });
  });

  /** ffmpeg, started again half a second after it has ended, as OBS does. */
  function keepPushing(streamKey: string): { current: () => RtmpPush; stop(): Promise<void> } {
    const stopped = new AbortController();
    const isStopped = (): boolean => stopped.signal.aborted;
    const push = (): RtmpPush =>
      pushFile(film, `rtmp://127.0.0.1:${ports.rtmp}/live/${streamKey}`, { loop: true });
    let current = push();
    const looping = (async () => {
      while (!isStopped()) {
        await current.ended;
        await delay(500);
        if (!isStopped()) {
          current = push();
        }
      }
    })();
    return {
      current: () => current,
      async stop() {
        stopped.abort();
        await current.stop();
        await looping;
      },
    };
  }

  async function endpoint(room: string): Promise<IngressInfo> {
    return api().ingress.createIngress(IngressInput.RTMP_INPUT, {
      ...{ roomName: room, participantIdentity: IDENTITY, participantName: 'OBS' },
    });
  }

  /** The encoder's participant with picture and sound. @param not an earlier one that must be gone. */
  function participant(room: string, not = ''): Promise<ParticipantInfo> {
    return until(BACK_TIMEOUT_MS, `the encoder in ${room}`, async () => {
      const people = await api()
        .rooms.listParticipants(room)
        .catch(() => []);
      const found = people.find(({ identity }) => identity === IDENTITY);
      expect(people.filter(({ identity }) => identity === IDENTITY).length).toBeLessThanOrEqual(1);
      return found?.tracks.length === 2 && found.sid !== not ? found : undefined;
    });
  }

  function publishing(ingressId: string, resourceIdBefore = ''): Promise<IngressInfo> {
    return until(BACK_TIMEOUT_MS, 'PUBLISHING', async () => {
      const [info] = await api()
        .ingress.listIngress({ ingressId })
        .catch(() => []);
      const isNew = info?.state?.resourceId !== resourceIdBefore;
      return statusOf(info) === 'ENDPOINT_PUBLISHING' && isNew ? info : undefined;
    });
  }

  /** Somebody who sees and hears the room from now on. */
  async function watch(room: string): Promise<RtcNodeViewer> {
    const viewer = new RtcNodeViewer();
    viewers.push(viewer);
    const token = new AccessToken(API_KEY, API_SECRET, { identity: `viewer-${viewers.length}` });
    token.addGrant({ roomJoin: true, room });
    await viewer.join(`ws://127.0.0.1:${ports.api}`, await token.toJwt());
    await seesOn(viewer);
    return viewer;
  }

  /** Two more seconds, in order and with their beeps. */
  async function seesOn(viewer: RtcNodeViewer): Promise<void> {
    const [frames, sounds] = [viewer.frames.length, viewer.sound.length];
    const beeps = (): number => viewer.sound.slice(sounds).filter(({ beep }) => beep).length;
    await viewer.until(() => viewer.frames.length >= frames + 2 * FPS && beeps() >= 5);
    // The first pictures behind an interruption come as they can.
    const codes = viewer.frames.slice(-FPS).map(({ barcode }) => barcode);
    // The film is played in a loop: one step back.
    expect(codes.filter((code, index) => code < (codes[index - 1] ?? 0)).length).toBeLessThanOrEqual(1);
    expect(new Set(codes).size).toBeGreaterThan(FPS / 2);
  }

  test('Redis goes away and comes back: the room notices nothing', { timeout: 120_000 }, async () => {
    const { ingressId, streamKey } = await endpoint('redis');
    const encoder = keepPushing(streamKey);
    try {
      const { state } = await publishing(ingressId);
      const viewer = await watch('redis');
      const { sid } = await participant('redis');
      const awayMs = performance.now();
      await redis.kill();
      await delay(REDIS_AWAY_MS);
      await redis.restart();
      await seesOn(viewer);
      const seenMs = viewer.frames.map(({ atMs }) => atMs).filter((atMs) => atMs > awayMs);
      const pausesMs = seenMs.map((atMs, index) => atMs - (seenMs[index - 1] ?? awayMs));
      expect(Math.max(...pausesMs)).toBeLessThan(MAX_PAUSE_MS);
      // Reported again, by the same session.
      const lastMs = state?.updatedAt ?? 0n;
      const later = await until(BACK_TIMEOUT_MS, 'a later report', async () => {
        const [info] = await api()
          .ingress.listIngress({ ingressId })
          .catch(() => []);
        return (info?.state?.updatedAt ?? 0n) > lastMs + BigInt(REDIS_AWAY_MS) * 1_000_000n
          ? info
          : undefined;
      });
      expect([statusOf(later), later.state?.resourceId]).toEqual(['ENDPOINT_PUBLISHING', state?.resourceId]);
      expect((await participant('redis')).sid).toBe(sid);
    } finally {
      await encoder.stop();
    }
  });

  test('the ingress is killed and comes back: so does the encoder', { timeout: 180_000 }, async () => {
    const { ingressId, streamKey } = await endpoint('killed');
    const encoder = keepPushing(streamKey);
    try {
      const first = await publishing(ingressId);
      const viewer = await watch('killed');
      const { sid } = await participant('killed');
      ingress.signal('SIGKILL');
      await ingress.exited;
      ingress = await startIngress();
      await publishing(ingressId, first.state?.resourceId);
      await participant('killed', sid);
      // Who was there before sees it again, and so does somebody new.
      const seen = viewer.frames.length;
      await viewer.until(() => viewer.frames.length > seen + FPS);
      await watch('killed');
    } finally {
      await encoder.stop();
    }
  });

  test(
    'the server is restarted: the encoder stays, and is in the room again',
    { timeout: 180_000 },
    async () => {
      const { ingressId, streamKey } = await endpoint('restart');
      const encoder = keepPushing(streamKey);
      try {
        const first = await publishing(ingressId);
        const { sid } = await participant('restart');
        const { pid } = encoder.current();
        server.signal('SIGKILL');
        await server.exited;
        server = await startServer();
        await participant('restart', sid);
        await watch('restart');
        expect(encoder.current().pid).toBe(pid);
        expect((await publishing(ingressId)).state?.resourceId).toBe(first.state?.resourceId);
      } finally {
        await encoder.stop();
      }
    },
  );

  test(
    `an encoder that is cut off every five seconds, ${FLAPS} times`,
    { timeout: FLAPS * 15_000 + 120_000 },
    async () => {
      const { ingressId, streamKey } = await endpoint('flaps');
      const url = `rtmp://127.0.0.1:${ports.rtmp}/live/${streamKey}`;
      let push = pushFile(film, url);
      const { state } = await publishing(ingressId);
      const { sid } = await participant('flaps');
      const rssMb = async (): Promise<number> => {
        const status = await readFile(`/proc/${ingress.pid}/status`, 'utf8');
        return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024;
      };
      let warmMb = 0;
      for (let flap = 0; flap < FLAPS; flap += 1) {
        const early = await Promise.race([push.ended, delay(FLAP_UP_MS)]);
        if (early !== undefined) {
          throw new Error(`ffmpeg ended by itself in round ${flap}: ${early.stderr}`);
        }
        process.kill(push.pid, 'SIGKILL');
        await push.ended;
        await delay(FLAP_DOWN_MS);
        push = pushFile(film, url);
        warmMb = flap === Math.min(10, FLAPS - 1) ? await rssMb() : warmMb;
      }
      // One session, one participant, all the time.
      const viewer = await watch('flaps');
      await seesOn(viewer);
      expect((await participant('flaps')).sid).toBe(sid);
      const last = await publishing(ingressId);
      expect(last.state?.resourceId).toBe(state?.resourceId);
      const told = sink.received.filter(({ event }) => event.ingressInfo?.ingressId === ingressId);
      expect(told.map(({ event }) => event.event)).toEqual(['ingress_started']);
      const grownMb = (await rssMb()) - warmMb;
      console.info(`${FLAPS} times: ${grownMb.toFixed(1)} MB more than after 10`);
      expect(grownMb).toBeLessThan(MAX_RSS_GROWTH_MB);
      await push.stop();
    },
  );
});
