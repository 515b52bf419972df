import { availableParallelism } from 'node:os';
import { IngressInput } from '@livekit/protocol';
import { ServiceError } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import type { Bus } from '../bus/bus.ts';
import type { Leases } from '../bus/leases.ts';
import type { LocalMedia } from '../media/rtp/local-media.ts';
import { connectRoom as connectRoomClient } from '../rtc-client/room-client.ts';
import type { ConnectRoom } from '../rtc-client/room-client-types.ts';
import {
  DEFAULT_INGRESS_CPU_COST,
  DEFAULT_MAX_CPU_UTILIZATION,
  IngressAdmission,
  type IngressCpuCost,
  type IngressWork,
} from './admission.ts';
import { IngressSession, type IngressSessionOptions } from './ingress-session.ts';
import { ingressSettings } from './ingress-settings.ts';
import { lookUpStreamKey } from './key-lookup.ts';
import { latencyOf, type OnPacketLatency } from './packet-latency.ts';
import type { RoomAccess } from './room-publisher.ts';
import { RTMP_SESSION_POLICY, type RtmpSessionPolicy } from './rtmp-session-policy.ts';
import { AddressLimiter } from './servers/address-limiter.ts';
import type { EncoderConnection, PublishRequest } from './servers/publisher-types.ts';
import { RTMP_LIMITS, type RtmpLimits } from './servers/rtmp-limits.ts';
import { startRtmpListeners } from './servers/rtmp-listeners.ts';
import type { WhipLimits } from './servers/whip-limits.ts';
import { startWhipServer } from './servers/whip-server.ts';
import type { WhipAnswer, WhipPublished, WhipPublishRequest } from './servers/whip-types.ts';
import { SessionRegistry } from './session-registry.ts';
import type { SlateSettings } from './slate/slate-choice.ts';
import { checkSlates, SlateFilms } from './slate/slate-film.ts';
import type { SrtPublication } from './srt/srt-connection.ts';
import type { SrtLimits } from './srt/srt-limits.ts';
import { startSrtServer } from './srt/srt-server.ts';
import { serveUrlIngress } from './url/url-ingress.ts';
import type { UrlPolicyOptions } from './url/url-policy.ts';
import { WhipIngressSession } from './whip-session.ts';
import { WhipUpstream } from './whip-upstream.ts';

/** Of the token that asks the room's server for its ICE servers. */
const WHIP_QUESTION_TTL_S = 60;

export type IngressOptions = {
  bus: Bus;
  /** Shows that this node is alive as long as a session runs; none in tests of a single process. */
  leases?: Leases;
  logger: Logger;
  /** port 0 = any free port, undefined = no plain RTMP; the rest is for RTMPS and SRT, too. */
  rtmp: {
    port: number | undefined;
    bindAddress: string;
    limits?: Partial<RtmpLimits>;
    policy?: Partial<RtmpSessionPolicy>;
    /** Shown while an encoder is away. */
    slates?: SlateSettings;
  };
  /** Undefined: no SRT. Publishers share keys, policy and slates with RTMP. `passphrase` '' = none may encrypt. */
  srt?: { port: number; bindAddress: string; passphrase: string; limits?: Partial<SrtLimits> } | undefined;
  /** Undefined: no RTMPS. Certificate chain and private key, PEM; the limits are those of `rtmp`. */
  rtmps?: { port: number; bindAddress: string; cert: string; key: string };
  /** Undefined: no WHIP. */
  whip?: { port: number; bindAddress: string; limits?: Partial<WhipLimits> } | undefined;
  /** What URL inputs may read. */
  url: UrlPolicyOptions & { stallMs?: number };
  /** Defaults: what was measured, 0.9 of all cores. */
  cpuCost?: Partial<IngressCpuCost>;
  maxCpuUtilization?: number;
  cores?: number;
  /** How every attempt to publish went: success, 4xx (the encoder's fault) or 5xx. */
  onPublishResult?: (type: 'rtmp' | 'srt' | 'whip', status: 'success' | '4xx' | '5xx') => void;
  onPacketLatency?: OnPacketLatency;
  room: RoomAccess;
  ffmpegPath: string;
  /** undefined: URL inputs are refused. */
  ffprobePath: string | undefined;
  /** Another room client than our own, for tests. */
  connectRoom?: ConnectRoom;
  /** Shared with the SFU when it runs in this process: media then reaches it without SRTP. */
  localMedia?: LocalMedia;
};

export type Ingress = {
  /** 0 = RTMP is off. */
  readonly rtmpPort: number;
  /** 0 = RTMPS is off. */
  readonly rtmpsPort: number;
  /** 0 = SRT is off. */
  readonly srtPort: number;
  /** 0 = WHIP is off. */
  readonly whipPort: number;
  /** Ids of the endpoints with a running session. */
  activeIngressIds(): string[];
  /** What these sessions do, as far as it costs CPU time. */
  work(): IngressWork[];
  /** Whether another RTMP stream would be taken. */
  isAvailable(): boolean;
  /** Takes no new encoders and waits until the running sessions have ended by themselves. */
  drain(): Promise<void>;
  /** Stops listening, ends all sessions, resolves when they have left their rooms. Idempotent. */
  close(cause: string): Promise<void>;
};

/**
 * Starts the listeners and publishes what comes in.
 * @throws ServiceError unavailable when a port is taken, invalid_argument when a slate cannot be read.
 */
export async function startIngress(options: IngressOptions): Promise<Ingress> {
  const { bus, logger } = options;
  const admission = new IngressAdmission({
    cores: options.cores ?? availableParallelism(),
    cost: { ...DEFAULT_INGRESS_CPU_COST, ...options.cpuCost },
    maxCpuUtilization: options.maxCpuUtilization ?? DEFAULT_MAX_CPU_UTILIZATION,
  });
  const sessions = new SessionRegistry({ bus, logger, admission, leases: options.leases });
  const slates = options.rtmp.slates && {
    settings: options.rtmp.slates,
    films: new SlateFilms({ ffmpegPath: options.ffmpegPath, logger }),
  };
  if (slates !== undefined) {
    await checkSlates(slates.settings);
  }
  const connectRoom = options.connectRoom ?? clientFor(options.localMedia);
  const counted = async <T>(type: 'rtmp' | 'srt' | 'whip', attempt: Promise<T>): Promise<T> => {
    try {
      const accepted = await attempt;
      options.onPublishResult?.(type, 'success');
      return accepted;
    } catch (error) {
      options.onPublishResult?.(type, ServiceError.from(error).httpStatus < 500 ? '4xx' : '5xx');
      throw error;
    }
  };
  const stopServing = await serveUrlIngress({ ...options, admission }, sessions, connectRoom);
  const limiter = new AddressLimiter({ ...RTMP_LIMITS, ...options.rtmp.limits });
  const accept = async (
    kind: 'rtmp' | 'srt',
    request: PublishRequest,
    encoder: EncoderConnection,
  ): Promise<SrtPublication> => {
    const pushed = { ...options, connectRoom, slates, admission, kind };
    return counted(kind, acceptPushed(pushed, sessions, request, encoder));
  };
  const rtmp = await startRtmpListeners({
    ...{ rtmp: options.rtmp, rtmps: options.rtmps, limiter, logger },
    onPublish: async (request, encoder) => (await accept('rtmp', request, encoder)).sink,
  });
  const srt =
    options.srt &&
    (await startSrtServer({
      ...{ ...options.srt, limiter, logger, ffmpegPath: options.ffmpegPath },
      onPublish: (request, encoder) => accept('srt', request, encoder),
    }).catch(async (error: unknown) => {
      await rtmp.close('start failed');
      throw error;
    }));
  const whip =
    options.whip &&
    (await startWhipServer({
      ...options.whip,
      logger,
      onPublish: (request) => counted('whip', acceptWhip({ ...options, connectRoom }, sessions, request)),
      onIceServers: (streamKey) => whipIceServers(options, streamKey),
    }).catch(async (error: unknown) => {
      await Promise.all([rtmp.close('start failed'), srt?.close('start failed')]);
      throw error;
    }));
  return {
    rtmpPort: rtmp.rtmpPort,
    rtmpsPort: rtmp.rtmpsPort,
    srtPort: srt?.port ?? 0,
    whipPort: whip?.port ?? 0,
    activeIngressIds: () => sessions.activeIngressIds(),
    work: () => admission.work(),
    isAvailable: () => !sessions.isClosed && admission.fits('rtmp'),
    async drain() {
      await stopServing();
      const drained = sessions.drain();
      rtmp.requestReconnect('This server is about to stop: please connect again.');
      await drained;
    },
    async close(cause) {
      await stopServing();
      await sessions.close(cause);
      await Promise.all([rtmp.close(cause), srt?.close(cause), whip?.close(cause)]);
    },
  };
}

/** @throws ServiceError not_found for wrong and disabled keys alike, already_exists while another encoder publishes. */
async function acceptPushed(
  options: IngressOptions & {
    kind: 'rtmp' | 'srt';
    connectRoom: ConnectRoom;
    slates: IngressSessionOptions['slates'];
    admission: IngressAdmission;
  },
  sessions: SessionRegistry,
  { streamKey }: PublishRequest,
  encoder: EncoderConnection,
): Promise<SrtPublication> {
  const { bus, logger, room, ffmpegPath, connectRoom, slates, kind } = options;
  const info = await lookUpStreamKey(options, streamKey, IngressInput.RTMP_INPUT).catch((error: unknown) => {
    const disabled = error instanceof ServiceError && error.code === 'permission_denied';
    throw disabled ? new ServiceError('not_found', 'stream key is not valid') : error;
  });
  const running = sessions.find(info.ingressId);
  if (running instanceof IngressSession && running.takesNext && !sessions.isClosed) {
    return { sink: running.accept(encoder), settings: ingressSettings(info) };
  }
  const session = await sessions.run(info, kind === 'srt' ? 'SR_' : 'RT_', async () => {
    const starting = new IngressSession({
      ...{ bus, logger, room, ffmpegPath, connectRoom, info, encoder },
      ...(slates === undefined ? {} : { slates }),
      onTranscoding: () => options.admission.change(info.ingressId, 'rtmpTranscoding'),
      ...latencyOf(options),
      kind,
      policy: { ...RTMP_SESSION_POLICY, ...options.rtmp.policy },
      isDraining: () => sessions.isClosed,
    });
    await starting.start();
    return starting;
  });
  return { sink: session.accept(encoder), settings: ingressSettings(info) };
}

/** @throws ServiceError as lookUpStreamKey, already_exists while another encoder publishes, and what the room says. */
async function acceptWhip(
  options: IngressOptions & { connectRoom: ConnectRoom },
  sessions: SessionRegistry,
  { streamKey, readOffer }: WhipPublishRequest,
): Promise<WhipPublished> {
  const { bus, logger, room, ffmpegPath, connectRoom } = options;
  const info = await lookUpStreamKey(options, streamKey, IngressInput.WHIP_INPUT);
  const offerSdp = await readOffer();
  let answer: WhipAnswer | undefined;
  const session = await sessions.run(info, 'WH_', async () => {
    const starting = new WhipIngressSession({
      ...{ bus, logger, room, info, ffmpegPath, connectRoom },
      ...latencyOf(options),
    });
    answer = await starting.start(offerSdp);
    return starting;
  });
  if (answer === undefined) {
    throw new ServiceError('internal', 'WHIP session without an answer');
  }
  return { session, answer };
}

/** Link headers. @throws ServiceError as lookUpStreamKey, unavailable when the room's server cannot be reached. */
async function whipIceServers(options: IngressOptions, streamKey: string): Promise<readonly string[]> {
  const info = await lookUpStreamKey(options, streamKey, IngressInput.WHIP_INPUT);
  const { participant, roomName: room } = ingressSettings(info);
  const grant = { ...participant, ttlS: WHIP_QUESTION_TTL_S, video: { roomJoin: true, room } };
  return new WhipUpstream(options.room, grant).iceServers();
}

function clientFor(localMedia: LocalMedia | undefined): ConnectRoom {
  return localMedia === undefined
    ? connectRoomClient
    : (options) => connectRoomClient({ ...options, localMedia });
}
