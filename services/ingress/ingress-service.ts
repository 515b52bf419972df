import type { IngressInfo } from '@livekit/protocol';
import { messageOf, ServiceError } from '../base/errors.ts';
import { newId } from '../base/ids.ts';
import type { Logger } from '../base/logger.ts';
import type { Bus } from '../bus/bus.ts';
import { IOInfo } from '../bus/rpc-methods.ts';
import type { LocalMedia } from '../media/rtp/local-media.ts';
import { connectRoom as connectRoomClient } from '../rtc-client/room-client.ts';
import type { ConnectRoom } from '../rtc-client/room-client-types.ts';
import { IngressSession } from './ingress-session.ts';
import type { RoomAccess } from './room-publisher.ts';
import type { EncoderConnection, MediaSink, PublishRequest } from './servers/publisher-types.ts';
import type { RtmpLimits } from './servers/rtmp-limits.ts';
import { startRtmpServer } from './servers/rtmp-server.ts';
import { StateReporter } from './state-reporter.ts';

export type IngressOptions = {
  bus: Bus;
  logger: Logger;
  /** port 0 = any free port. */
  rtmp: { port: number; bindAddress: string; limits?: Partial<RtmpLimits> };
  room: RoomAccess;
  ffmpegPath: string;
  /** Another room client than our own, for tests. */
  connectRoom?: ConnectRoom;
  /** Shared with the SFU when it runs in this process: media then reaches it without SRTP. */
  localMedia?: LocalMedia;
};

export type Ingress = {
  readonly rtmpPort: number;
  /** Ids of the endpoints with a running session. */
  activeIngressIds(): string[];
  /** Takes no new encoders and waits until the running sessions have ended by themselves. */
  drain(): Promise<void>;
  /** Stops listening, ends all sessions, resolves when they have left their rooms. Idempotent. */
  close(cause: string): Promise<void>;
};

const LOOKUP_TIMEOUT_MS = 3_000;
/** How long an encoder that reconnects waits for its previous session to leave the room. */
const HANDOVER_TIMEOUT_MS = 5_000;

/** Starts the RTMP listener and publishes what comes in. @throws ServiceError unavailable when the port is taken. */
export async function startIngress(options: IngressOptions): Promise<Ingress> {
  const service = new IngressService(options);
  const server = await startRtmpServer({
    ...options.rtmp,
    logger: options.logger,
    onPublish: (request, encoder) => service.accept(request, encoder),
  });
  return {
    rtmpPort: server.port,
    activeIngressIds: () => service.activeIngressIds(),
    drain: () => service.drain(),
    async close(cause) {
      await service.close(cause);
      await server.close(cause);
    },
  };
}

class IngressService {
  readonly #options: IngressOptions;
  /** undefined while a session is being set up: the id is taken already. */
  readonly #sessions = new Map<string, IngressSession | undefined>();
  #closed = false;

  constructor(options: IngressOptions) {
    this.#options = options;
  }

  activeIngressIds(): string[] {
    return [...this.#sessions.keys()];
  }

  /** @throws ServiceError not_found for wrong and disabled keys alike, already_exists while another encoder publishes. */
  async accept(request: PublishRequest, encoder: EncoderConnection): Promise<MediaSink> {
    const info = await this.#lookUp(request.streamKey);
    await this.#handOver(info.ingressId);
    if (this.#closed) {
      throw new ServiceError('unavailable', 'server is shutting down');
    }
    if (this.#sessions.has(info.ingressId)) {
      this.#options.logger.warn({ ingressId: info.ingressId }, 'second encoder on one stream key refused');
      throw new ServiceError('already_exists', 'another encoder is already publishing with this stream key');
    }
    this.#sessions.set(info.ingressId, undefined);
    try {
      const session = new IngressSession({
        bus: this.#options.bus,
        logger: this.#options.logger,
        room: this.#options.room,
        ffmpegPath: this.#options.ffmpegPath,
        connectRoom: this.#options.connectRoom ?? clientFor(this.#options.localMedia),
        info,
        encoder,
      });
      await session.start();
      this.#sessions.set(info.ingressId, session);
      void session.ended.then(() => this.#sessions.delete(info.ingressId));
      return session;
    } catch (error) {
      this.#sessions.delete(info.ingressId);
      this.#options.logger.error({ err: error, ingressId: info.ingressId }, 'ingress session not started');
      await this.#reportFailure(info, error);
      throw error;
    }
  }

  async drain(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#sessions.values()].map(async (session) => session?.ended));
  }

  async close(cause: string): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#sessions.values()].map(async (session) => session?.stop(cause)));
  }

  /** Who looks at the endpoint sees what its encoder was told. */
  #reportFailure(info: IngressInfo, error: unknown): Promise<void> {
    const { bus, logger } = this.#options;
    const state = new StateReporter(bus, info, newId('RT_'), logger, () => undefined);
    state.setStatus('error', messageOf(error));
    return state.report();
  }

  async #lookUp(streamKey: string): Promise<IngressInfo> {
    const { bus, logger } = this.#options;
    let info: IngressInfo | undefined;
    try {
      if (streamKey !== '') {
        const found = await bus.request(
          IOInfo.getIngressInfo,
          { streamKey },
          { timeoutMs: LOOKUP_TIMEOUT_MS },
        );
        info = found.info;
      }
    } catch (error) {
      if (!(error instanceof ServiceError) || error.code !== 'not_found') {
        logger.error({ err: error }, 'ingress lookup failed');
        throw new ServiceError('unavailable', 'stream keys cannot be checked right now; try again');
      }
    }
    if (info === undefined || info.enabled === false) {
      logger.warn({ disabled: info !== undefined }, 'publish refused');
      throw new ServiceError('not_found', 'stream key is not valid');
    }
    return info;
  }

  /** An encoder that comes back at once finds its old session leaving the room. */
  async #handOver(ingressId: string): Promise<void> {
    const previous = this.#sessions.get(ingressId);
    if (previous?.isEnding === true) {
      let timer: NodeJS.Timeout | undefined;
      const timeout = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, HANDOVER_TIMEOUT_MS);
      });
      await Promise.race([previous.ended, timeout]);
      clearTimeout(timer);
    }
  }
}

function clientFor(localMedia: LocalMedia | undefined): ConnectRoom {
  return localMedia === undefined
    ? connectRoomClient
    : (options) => connectRoomClient({ ...options, localMedia });
}
