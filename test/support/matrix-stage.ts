import { rm } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import {
  AccessToken,
  type CreateIngressOptions,
  IngressClient,
  IngressInput,
  RoomServiceClient,
} from 'livekit-server-sdk';
import { IngressState_Status } from '@livekit/protocol';
import { countBeeps } from './beeps.ts';
import { analyzeFlashBeep } from './flash-beep.ts';
import { frameCounters } from './frame-counter.ts';
import { until } from './published-room.ts';
import { recordTracks } from './room-recorder.ts';
import type { RunningPeer } from './rtmp-peers.ts';
import { API_KEY, API_SECRET, startSluiceProcess, type SluiceProcess } from './sluice-process.ts';
import { startWebhookSink, type WebhookSink } from './webhook-receiver.ts';

const TRACKS_TIMEOUT_MS = 30_000;
const END_TIMEOUT_MS = 20_000;
/** The recorder's clock comes to rest, which takes its time on a busy machine; then the remainder is looked at. */
const SETTLE_S = 9;
const RECORD_S = 15;
const POLL_MS = 50;
const IDENTITY = 'encoder';

/** What came out of a room while an encoder published into it, decoded. */
export type Seen = {
  treatment: string;
  /** Statuses of the endpoint as they were listed, without repetitions. */
  statuses: string[];
  /** Of this endpoint and its participant, in the order they came. */
  webhooks: string[];
  uniqueFps: number;
  reordered: number;
  skipped: number;
  flashRatio: number;
  beepRatio: number;
  /** Between one beep and the next, in seconds. */
  beepStepsS: number[];
  /** Sound minus picture; NaN when one is missing. */
  skewMs: number;
};

/** What an encoder sends, by default all. */
export type Tracks = { picture?: boolean; sound?: boolean };

/** What its endpoint asks for; default: nothing. */
export type EndpointOptions = Pick<CreateIngressOptions, 'enableTranscoding' | 'video'>;

export type MatrixStage = {
  sluice: SluiceProcess;
  port(kind: 'rtmps' | 'srt'): Promise<number>;
  /** One encoder from its first byte to its goodbye. @param look at the recording, before it is gone. */
  watch(
    publish: (streamKey: string) => Promise<RunningPeer>,
    has?: Tracks,
    endpoint?: EndpointOptions,
    look?: (file: string) => Promise<void>,
  ): Promise<Seen>;
  close(): Promise<void>;
};

/** The built program with webhooks, and a recorder that decodes what any encoder brings into a room. */
export async function startMatrixStage(
  config: { ingress?: Record<string, unknown> } = {},
): Promise<MatrixStage> {
  const hooks = await startWebhookSink(API_KEY, API_SECRET);
  const sluice = await startSluiceProcess({
    config: {
      ingress: { rtmp_port: 0, whip_port: 0, reconnect_window: 1, ...config.ingress },
      webhook: { api_key: API_KEY, urls: [hooks.url] },
    },
  });
  let count = 0;
  return {
    sluice,
    async port(kind) {
      const status = await (await fetch(`${sluice.apiUrl}/status`)).json();
      return (status as { ports: { rtmps: number; srt: number } }).ports[kind];
    },
    watch: (publish, has = {}, endpoint = {}, look = () => Promise.resolve()) => {
      count += 1;
      const tracks = { picture: true, sound: true, ...has };
      return watchOne({ sluice, hooks, room: `cell-${count}`, publish, has: tracks, endpoint, look });
    },
    async close() {
      await sluice.cleanUp();
      await hooks.close();
    },
  };
}

async function watchOne(cell: {
  sluice: SluiceProcess;
  hooks: WebhookSink;
  room: string;
  publish: (streamKey: string) => Promise<RunningPeer>;
  has: Required<Tracks>;
  endpoint: EndpointOptions;
  look: (file: string) => Promise<void>;
}): Promise<Seen> {
  const { sluice, hooks, room, publish, has, endpoint, look } = cell;
  const rooms = new RoomServiceClient(sluice.apiUrl, API_KEY, API_SECRET);
  const ingress = new IngressClient(sluice.apiUrl, API_KEY, API_SECRET);
  const { ingressId, streamKey } = await ingress.createIngress(IngressInput.RTMP_INPUT, {
    ...{ roomName: room, participantIdentity: IDENTITY, participantName: 'Encoder', ...endpoint },
  });
  const statuses = followStatuses(ingress, ingressId);
  const file = path.join(sluice.tmpDir, `${room}.mp4`);
  const peer = await publish(streamKey);
  try {
    const tracks = Number(has.picture) + Number(has.sound);
    const attributes = await until(TRACKS_TIMEOUT_MS, `${tracks} tracks in ${room}`, async () => {
      const people = await rooms.listParticipants(room).catch(() => []);
      const encoder = people.find(({ identity }) => identity === IDENTITY);
      return encoder?.tracks.length === tracks ? encoder.attributes : undefined;
    });
    const token = await viewerToken(room);
    await recordTracks({ wsUrl: sluice.wsUrl, token, file, seconds: RECORD_S, settleS: SETTLE_S });
    const decoded = await decode(file, has);
    await look(file);
    await peer.stop();
    await until(END_TIMEOUT_MS, 'the end of the session', () =>
      Promise.resolve(
        statuses.list.at(-1) === 'ENDPOINT_INACTIVE' && statuses.list.length > 1 ? true : undefined,
      ),
    );
    await hooks.event(
      ({ event, ingressInfo }) => event === 'ingress_ended' && ingressInfo?.ingressId === ingressId,
    );
    return {
      treatment: attributes['sluice.ingress.video'] ?? '',
      statuses: statuses.list,
      webhooks: hooks.received
        .filter(({ event }) => event.ingressInfo?.ingressId === ingressId)
        .map(({ event }) => event.event),
      ...decoded,
    };
  } catch (error) {
    throw new Error(
      `${String(error)}\nencoder: ${peer.output()}\nstatuses: ${statuses.list.join(', ')} ${statuses.error}`,
      {
        cause: error,
      },
    );
  } finally {
    statuses.stop();
    await peer.stop();
    await ingress.deleteIngress(ingressId);
    await rm(file, { force: true });
  }
}

/** What the endpoint says, and what is wrong with it. */
type Followed = { list: string[]; error: string; stop(): void };
type Decoded = Omit<Seen, 'treatment' | 'statuses' | 'webhooks'>;

async function decode(file: string, has: { picture: boolean; sound: boolean }): Promise<Decoded> {
  const nothing = {
    uniqueFps: 0,
    reordered: 0,
    skipped: 0,
    flashRatio: 0,
    beepRatio: 0,
    beepStepsS: [],
    skewMs: Number.NaN,
  };
  if (!has.picture) {
    const { beeps, durationS } = await countBeeps(file);
    return { ...nothing, beepRatio: beeps / Math.max(1, Math.floor(durationS)) };
  }
  if (!has.sound) {
    const frames = await frameCounters(file);
    const steps = frames.slice(1).map(({ value }, i) => value - (frames[i]?.value ?? 0));
    const distinct = new Set(frames.map(({ value }) => value)).size;
    return {
      ...nothing,
      uniqueFps: distinct / Math.max(1, frames.at(-1)?.timeS ?? 0),
      reordered: steps.filter((step) => step < 0).length,
      skipped: steps.reduce((sum, step) => sum + Math.max(0, step - 1), 0),
    };
  }
  const { medianOffsetMs: skewMs, ...report } = await analyzeFlashBeep(file);
  const { uniqueFps, reordered, skipped, flashRatio, beepRatio, beepsS } = report;
  const beepStepsS = beepsS.slice(1).map((beepS, index) => beepS - (beepsS[index] ?? 0));
  return { uniqueFps, reordered, skipped, flashRatio, beepRatio, beepStepsS, skewMs };
}

async function viewerToken(room: string): Promise<string> {
  const token = new AccessToken(API_KEY, API_SECRET, { identity: 'recorder' });
  token.addGrant({ roomJoin: true, room, canPublish: false, hidden: true });
  return token.toJwt();
}

function followStatuses(ingress: IngressClient, ingressId: string): Followed {
  const list: string[] = [];
  const stopping = new AbortController();
  const isStopped = (): boolean => stopping.signal.aborted;
  const follow = async (): Promise<void> => {
    while (!isStopped()) {
      const [info] = await ingress.listIngress({ ingressId }).catch(() => []);
      const status: string | undefined =
        IngressState_Status[info?.state?.status ?? IngressState_Status.ENDPOINT_INACTIVE];
      followed.error = info?.state?.error ?? followed.error;
      if (!isStopped() && status !== undefined && list.at(-1) !== status) {
        list.push(status);
      }
      await delay(POLL_MS);
    }
  };
  const followed: Followed = {
    list,
    error: '',
    stop: () => {
      stopping.abort();
    },
  };
  void follow();
  return followed;
}
