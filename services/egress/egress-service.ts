import { mkdir } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { EgressInfo, EgressStatus, type UpdateStreamRequest } from '@livekit/protocol';
import { unixNs } from '../base/clock.ts';
import { messageOf, ServiceError } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import type { Bus, Unregister } from '../bus/bus.ts';
import type { Leases } from '../bus/leases.ts';
import type { RpcStartEgressRequest } from '../bus/rpc-messages.ts';
import { EgressHandler, EgressInternal, IOInfo } from '../bus/rpc-methods.ts';
import type { S3Target, StorageTarget, ValidatedEgress } from '../model/egress.ts';
import { readRequest } from '../model/egress-request.ts';
import type { StreamProtocol } from '../model/stream-url.ts';
import { redactEgress } from '../protocol/redact-egress.ts';
import { Admission, AFFINITY, DEFAULT_CPU_COST, type CpuCost } from './admission.ts';
import { costKeyOf } from './cpu-cost.ts';
import { EgressJob } from './egress-job.ts';
import { sourceTypeOf } from './egress-record.ts';
import { assertPossible, resolveStreamUrls } from './egress-validation.ts';
import { InfoReporter } from './info-reporter.ts';
import { recorderToken } from './recorder-token.ts';
import { SpareHandlers } from './spare-handlers.ts';

const CREATE_TIMEOUT_MS = 15_000;
const DEFAULT_START_SIGNAL_TIMEOUT_MS = 30_000;
const DEFAULT_TRACK_WAIT_MS = 30_000;
/** A handler needs about 150 MB; every buffer in it is bounded far below this. */
const DEFAULT_MAX_HANDLER_RSS_BYTES = 1 << 30;

export type EgressServiceOptions = {
  bus: Bus;
  /** Shows that this node is alive as long as a job runs; none in tests of a single process. */
  leases?: Leases;
  logger: Logger;
  room: { wsUrl: string; apiKey: string; apiSecret: string };
  tools: { ffmpegPath: string; ffprobePath: string | undefined; chromiumPath: string | undefined };
  /** Requests without storage of their own go here: S3 when given, else the recordings folder. */
  storage: { recordingsDir: string; s3?: S3Target; disallowLocalStorage?: boolean };
  /** Unfinished recordings; each job has a folder of its own below it. */
  tmpDir: string;
  /** dist/egress-handler.js */
  handlerEntry: string;
  /** dist/templates */
  templatesDir: string;
  cpuCost?: Partial<CpuCost>;
  cores?: number;
  maxCpuUtilization?: number;
  /** Memory of one handler process without its browser; 0 = no limit. */
  maxHandlerRssBytes?: number;
  startSignalTimeoutMs?: number;
  trackWaitMs?: number;
  /** Handler processes kept ready for the next jobs: 0 (default) or 1. */
  warmHandlers?: number;
  /** The same with a browser, for jobs that need one: 0 (default) or 1. */
  warmBrowsers?: number;
  /** Address that twitch://KEY stands for, with {stream_key} in it; '' = refused. */
  twitchIngest?: string;
};

export type EgressService = {
  /** Running jobs by id, with their process; for status pages and tests. */
  jobs(): { egressId: string; status: EgressStatus; handlerPid: number | undefined }[];
  /** The processes that wait for the next jobs. */
  sparePids(): number[];
  /** Takes no new jobs and waits until the running ones have ended by themselves and are stored. */
  drain(): Promise<void>;
  /** Takes no new jobs, ends the running ones and waits until their recordings are stored. Idempotent. */
  close(cause: string): Promise<void>;
};

/** Serves EgressInternal and, per job, EgressHandler; one child process per job. */
export async function startEgress(options: EgressServiceOptions): Promise<EgressService> {
  const service = new Service(options);
  await service.open();
  return service;
}

type Running = { job: EgressJob; reporter: InfoReporter; unserve: Unregister; releaseLease: Unregister };

class Service implements EgressService {
  readonly #options: EgressServiceOptions;
  readonly #admission: Admission;
  readonly #cost: CpuCost;
  readonly #running = new Map<string, Running>();
  readonly #cleaning = new Set<Promise<void>>();
  readonly #spares: SpareHandlers;
  #unserve: Unregister | undefined;
  #isDraining = false;
  #closing: Promise<void> | undefined;

  constructor(options: EgressServiceOptions) {
    this.#options = options;
    this.#cost = { ...DEFAULT_CPU_COST, ...options.cpuCost };
    this.#admission = new Admission(options.cores ?? availableParallelism(), options.maxCpuUtilization);
    const maxRssBytes = options.maxHandlerRssBytes ?? DEFAULT_MAX_HANDLER_RSS_BYTES;
    this.#spares = new SpareHandlers({ ...options, maxRssBytes, chromiumPath: options.tools.chromiumPath });
  }

  async open(): Promise<void> {
    const { bus, tmpDir } = this.#options;
    await mkdir(tmpDir, { recursive: true });
    this.#unserve = await bus.serve(EgressInternal.startEgress, (request) => this.#start(request), {
      affinity: (request) =>
        this.#isDraining ? AFFINITY.refused : this.#admission.affinity(this.#costOf(request)),
    });
    this.#spares.refill();
  }

  jobs(): { egressId: string; status: EgressStatus; handlerPid: number | undefined }[] {
    return [...this.#running].map(([egressId, { job }]) => ({
      egressId,
      status: job.info.status,
      handlerPid: job.handlerPid,
    }));
  }

  sparePids(): number[] {
    return this.#spares.pids;
  }

  async drain(): Promise<void> {
    this.#isDraining = true;
    await Promise.all([this.#unserve?.(), this.#spares.close()]);
    await Promise.all([...this.#running.values()].map(({ job }) => job.ended));
    await Promise.all(this.#cleaning);
  }

  close(cause: string): Promise<void> {
    this.#closing ??= (async () => {
      this.#options.logger.info({ cause, jobs: this.#running.size }, 'egress closing');
      this.#isDraining = true;
      for (const { job } of this.#running.values()) {
        void job.stop('killed');
      }
      await this.drain();
    })();
    return this.#closing;
  }

  #costOf({ request }: RpcStartEgressRequest): number {
    return this.#cost[costKeyOf(request)];
  }

  async #start(request: RpcStartEgressRequest): Promise<EgressInfo> {
    if (this.#isDraining) {
      throw new ServiceError('unavailable', 'egress is shutting down and takes no new jobs');
    }
    const egress = await this.#validate(request);
    this.#admission.reserve(egress.egressId, this.#costOf(request));
    let releaseLease: Unregister | undefined;
    try {
      releaseLease = await this.#options.leases?.hold(egress.egressId);
      const info = await this.#createRecord(request, egress);
      return await this.#launch(egress, info, releaseLease ?? (() => Promise.resolve()));
    } catch (error) {
      if (!this.#running.has(egress.egressId)) {
        this.#admission.release(egress.egressId);
        await releaseLease?.();
      }
      throw error;
    }
  }

  /** @throws ServiceError that names what is wrong with the request. */
  async #validate(request: RpcStartEgressRequest): Promise<ValidatedEgress> {
    const { room, tools } = this.#options;
    const { egressId, roomId } = request;
    const roomName = roomNameOf(request);
    const requested = readRequest(request.request, this.#defaultStorage());
    assertPossible(requested, {
      disallowLocalStorage: this.#options.storage.disallowLocalStorage === true,
      hasChromium: tools.chromiumPath !== undefined,
      twitchIngest: this.#options.twitchIngest ?? '',
    });
    const { streams } = requested.outputs;
    if (streams !== undefined) {
      streams.urls = this.#resolve(streams.urls, streams.protocol);
    }
    const token = request.token || (await recorderToken(room, egressId, roomName));
    return { egressId, roomId, roomName, token, wsUrl: request.wsUrl || room.wsUrl, ...requested };
  }

  #resolve(urls: readonly string[], protocol: StreamProtocol): string[] {
    return resolveStreamUrls(urls, protocol, this.#options.twitchIngest ?? '');
  }

  async #updateStream(job: EgressJob, request: UpdateStreamRequest): Promise<EgressInfo> {
    const { streams } = job.egress.outputs;
    if (streams === undefined) {
      throw notStreaming();
    }
    const { protocol } = streams;
    return job.updateStreams(
      this.#resolve(request.addOutputUrls, protocol),
      this.#resolve(request.removeOutputUrls, protocol),
    );
  }

  #defaultStorage(): StorageTarget {
    const { s3, recordingsDir } = this.#options.storage;
    return s3 ?? { kind: 'local', rootDir: path.resolve(recordingsDir) };
  }

  async #createRecord(request: RpcStartEgressRequest, egress: ValidatedEgress): Promise<EgressInfo> {
    const now = unixNs();
    const info = redactEgress(
      new EgressInfo({
        egressId: egress.egressId,
        roomId: egress.roomId,
        roomName: egress.roomName,
        sourceType: sourceTypeOf(egress.job.kind),
        status: EgressStatus.EGRESS_STARTING,
        startedAt: now,
        updatedAt: now,
        request: request.request,
      }),
    );
    try {
      await this.#options.bus.request(IOInfo.createEgress, info, { timeoutMs: CREATE_TIMEOUT_MS });
    } catch (error) {
      throw new ServiceError('unavailable', `the egress record could not be created: ${messageOf(error)}`, {
        cause: error,
      });
    }
    return info;
  }

  async #launch(egress: ValidatedEgress, info: EgressInfo, releaseLease: Unregister): Promise<EgressInfo> {
    const { bus, tools, tmpDir, templatesDir } = this.#options;
    const { egressId } = egress;
    const logger = this.#options.logger.child({ egressId, room: egress.roomName });
    const reporter = new InfoReporter(bus, logger);
    const job = new EgressJob({
      egress,
      info,
      takeHandler: (onMessage) => this.#spares.take(egress, onMessage),
      tmpDir,
      rescueDir: path.join(path.resolve(this.#options.storage.recordingsDir), 'undelivered'),
      logger,
      tools: {
        ffmpegPath: tools.ffmpegPath,
        ffprobePath: tools.ffprobePath ?? '',
        chromiumPath: tools.chromiumPath ?? '',
        templatesDir,
        startSignalTimeoutMs: this.#options.startSignalTimeoutMs ?? DEFAULT_START_SIGNAL_TIMEOUT_MS,
        trackWaitMs: this.#options.trackWaitMs ?? DEFAULT_TRACK_WAIT_MS,
      },
      onUpdate: (update) => {
        reporter.report(update);
        // Not before: the job that is starting needs the processor now.
        if (update.status >= EgressStatus.EGRESS_ACTIVE) {
          this.#spares.refill();
        }
      },
    });
    const topic = egressId;
    const served = await Promise.all([
      bus.serve(EgressHandler.stopEgress, () => job.stop('stop_requested'), { topic }),
      bus.serve(EgressHandler.updateStream, (request) => this.#updateStream(job, request), { topic }),
    ]);
    const unserve = async (): Promise<void> => {
      await Promise.all(served.map((unregister) => unregister()));
    };
    this.#running.set(egressId, { job, reporter, unserve, releaseLease });
    const cleaning = job.ended.then(() => this.#remove(egressId));
    this.#cleaning.add(cleaning);
    void cleaning.finally(() => this.#cleaning.delete(cleaning));
    await job.start();
    return job.info;
  }

  async #remove(egressId: string): Promise<void> {
    const running = this.#running.get(egressId);
    this.#running.delete(egressId);
    this.#admission.release(egressId);
    await running?.unserve();
    await (this.#isDraining ? running?.reporter.close() : running?.reporter.flush());
    // Only now: a job whose end nobody was told of must not count as alive.
    await running?.releaseLease();
  }
}

/** LiveKit's servers up to 1.9 at least name the room in the inner request only. */
function roomNameOf({ roomName, request }: RpcStartEgressRequest): string {
  const { value } = request;
  return roomName === '' && value !== undefined && 'roomName' in value ? value.roomName : roomName;
}

/** LiveKit's text. */
function notStreaming(): ServiceError {
  return new ServiceError('invalid_argument', 'UpdateStream called on non-streaming egress');
}
