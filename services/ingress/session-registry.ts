import type { IngressInfo } from '@livekit/protocol';
import { messageOf, ServiceError } from '../base/errors.ts';
import { newId } from '../base/ids.ts';
import type { Logger } from '../base/logger.ts';
import type { Bus, Unregister } from '../bus/bus.ts';
import type { Leases } from '../bus/leases.ts';
import type { IngressAdmission, IngressWork } from './admission.ts';
import { StateReporter } from './state-reporter.ts';

/** One connected source of media, whatever it speaks. */
export type RunningSession = {
  /** Resolves when everything is closed and the last state is reported; never rejects. */
  readonly ended: Promise<void>;
  /** True from the first cause on. */
  readonly isEnding: boolean;
  /** The source has fallen silent without saying goodbye: a new connection takes its place. */
  readonly isSilent: boolean;
  stop(cause: string): Promise<unknown>;
};

/** How long an encoder that reconnects waits for its previous session to leave the room. */
const HANDOVER_TIMEOUT_MS = 5_000;

type ResourcePrefix = 'RT_' | 'SR_' | 'WH_' | 'UR_';

/** The sessions of this node, one for an endpoint at most. */
export class SessionRegistry {
  readonly #bus: Bus;
  readonly #logger: Logger;
  /** undefined while a session is being set up: the id is taken already. */
  readonly #sessions = new Map<string, RunningSession | undefined>();
  readonly #admission: IngressAdmission;
  readonly #leases: Leases | undefined;
  /** Ends that are not over before the lease is given back. */
  readonly #endings = new Set<Promise<void>>();
  #closed = false;

  constructor(options: {
    bus: Bus;
    logger: Logger;
    admission: IngressAdmission;
    leases: Leases | undefined;
  }) {
    this.#bus = options.bus;
    this.#logger = options.logger;
    this.#admission = options.admission;
    this.#leases = options.leases;
  }

  /** Takes nothing new any more. */
  get isClosed(): boolean {
    return this.#closed;
  }

  /** Undefined while a session is being set up, too. */
  find(ingressId: string): RunningSession | undefined {
    return this.#sessions.get(ingressId);
  }

  activeIngressIds(): string[] {
    return [...this.#sessions.keys()];
  }

  /**
   * Starts a session and keeps it until it ends. A failed start is reported as the endpoint's state.
   * @throws ServiceError already_exists while another encoder publishes, resource_exhausted when this node has no CPU
   *   left for it, unavailable when nobody could miss this node; whatever `start` throws.
   */
  async run<Session extends RunningSession>(
    info: IngressInfo,
    resourcePrefix: ResourcePrefix,
    start: () => Promise<Session>,
  ): Promise<Session> {
    const { ingressId } = info;
    await this.#handOver(ingressId);
    if (this.#closed) {
      throw new ServiceError('unavailable', 'server is shutting down');
    }
    if (this.#sessions.has(ingressId)) {
      this.#logger.warn({ ingressId }, 'second encoder on one stream key refused');
      throw new ServiceError('already_exists', 'another encoder is already publishing with this stream key');
    }
    this.#admission.reserve(ingressId, workOf(info, resourcePrefix));
    this.#sessions.set(ingressId, undefined);
    let release: Unregister | undefined;
    try {
      release = await this.#leases?.hold(ingressId);
      const session = await start();
      this.#sessions.set(ingressId, session);
      this.#watch(ingressId, session, release);
      return session;
    } catch (error) {
      this.#forget(ingressId);
      this.#logger.error({ err: error, ingressId }, 'ingress session not started');
      await this.#reportFailure(info, resourcePrefix, error);
      await release?.();
      throw error;
    }
  }

  /** Takes nothing new; resolves when the running sessions have ended by themselves. */
  async drain(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#sessions.values()].map(async (session) => session?.ended));
    await Promise.all(this.#endings);
  }

  async close(cause: string): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#sessions.values()].map(async (session) => session?.stop(cause)));
    await Promise.all(this.#endings);
  }

  #watch(ingressId: string, session: RunningSession, release: Unregister | undefined): void {
    const ending = session.ended.then(async () => {
      this.#forget(ingressId);
      await release?.();
    });
    this.#endings.add(ending);
    void ending.finally(() => this.#endings.delete(ending));
  }

  #forget(ingressId: string): void {
    this.#sessions.delete(ingressId);
    this.#admission.release(ingressId);
  }

  /** Who looks at the endpoint sees what its encoder was told. */
  #reportFailure(info: IngressInfo, resourcePrefix: ResourcePrefix, error: unknown): Promise<void> {
    const state = new StateReporter(this.#bus, info, newId(resourcePrefix), this.#logger, () => undefined);
    state.setStatus('error', messageOf(error));
    return state.report();
  }

  /** An encoder that comes back at once finds its old session leaving the room, or not yet missed. */
  async #handOver(ingressId: string): Promise<void> {
    const previous = this.#sessions.get(ingressId);
    if (previous === undefined || (!previous.isEnding && !previous.isSilent)) {
      return;
    }
    void previous.stop('the encoder connected again');
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, HANDOVER_TIMEOUT_MS);
    });
    await Promise.race([previous.ended, timeout]);
    clearTimeout(timer);
  }
}

/** As far as it is known before the first picture: RTMP passes until it is seen that it cannot. */
function workOf(info: IngressInfo, resourcePrefix: ResourcePrefix): IngressWork {
  switch (resourcePrefix) {
    case 'RT_':
      return 'rtmp';
    case 'SR_':
      return 'srt';
    case 'UR_':
      return 'url';
    case 'WH_':
      return info.enableTranscoding === true ? 'whip' : 'whipBypassTranscoding';
  }
}
