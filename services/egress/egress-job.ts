import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { EgressStatus, type EgressInfo } from '@livekit/protocol';
import { ServiceError } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import type { ChildExit } from '../base/process/supervisor.ts';
import type { EndReason, ValidatedEgress } from '../model/egress.ts';
import { decodeInfo, encodeInfo, EgressRecord } from './egress-record.ts';
import type { FromHandler, HandlerTools, OutputSpool, TrackFacts } from './handler-messages.ts';
import { recoverOutputs } from './recovery.ts';
import type { HandlerProcess } from './spare-handler.ts';

/** Joining, storage pre-flight included; LiveKit allows its handler ten seconds, S3 may need longer. */
const PREPARE_TIMEOUT_MS = 25_000;
const STOP_ANSWER_TIMEOUT_MS = 8_000;
const STREAM_ANSWER_TIMEOUT_MS = 8_000;
/** After its final state a handler has nothing left to do. */
const EXIT_GRACE_MS = 10_000;

export type EgressJobOptions = {
  egress: ValidatedEgress;
  info: EgressInfo;
  tools: HandlerTools & { ffprobePath: string };
  /** A process of this job's own. */
  takeHandler: (onMessage: (message: FromHandler) => void) => HandlerProcess;
  tmpDir: string;
  rescueDir: string;
  logger: Logger;
  onUpdate: (info: EgressInfo) => void;
};

/** The service's side of one job: its handler process and what is known about it. */
export class EgressJob {
  /** Settles when the job is final and the process gone; never rejects. */
  readonly ended: Promise<void>;
  readonly #options: EgressJobOptions;
  readonly #logger: Logger;
  readonly #workDir: string;
  #child: HandlerProcess | undefined;
  #info: EgressInfo;
  /** By output: what is on disk should the handler die. */
  readonly #spools = new Map<OutputSpool['output'], OutputSpool>();
  #track: TrackFacts = { trackId: '', publisherIdentity: '', trackType: '', trackSource: '' };
  #waiters = new Set<() => void>();
  #isPrepared = false;
  #requestId = 0;
  readonly #streamAnswers = new Map<number, Extract<FromHandler, { type: 'stream_updated' }>>();
  #resolveEnded: () => void = () => undefined;

  constructor(options: EgressJobOptions) {
    this.#options = options;
    this.#logger = options.logger;
    this.#info = options.info;
    this.#workDir = path.join(options.tmpDir, options.egress.egressId);
    this.ended = new Promise((resolve) => {
      this.#resolveEnded = resolve;
    });
  }

  get info(): EgressInfo {
    return this.#info;
  }

  get egress(): ValidatedEgress {
    return this.#options.egress;
  }

  get handlerPid(): number | undefined {
    return this.#child?.pid;
  }

  /**
   * Starts the handler and waits until storage has answered.
   * @throws ServiceError why the job cannot start; the job has then ended as FAILED.
   */
  async start(): Promise<void> {
    const { egress, takeHandler, tools } = this.#options;
    try {
      await mkdir(this.#workDir, { recursive: true, mode: 0o700 });
    } catch (error) {
      const failure = new ServiceError('internal', `tmp_dir cannot be written: ${this.#workDir}`, {
        cause: error,
      });
      this.#failRecord(failure);
      this.#resolveEnded();
      throw failure;
    }
    const child = takeHandler((message) => {
      this.#onMessage(message);
    });
    this.#child = child;
    void child.exited.then((exit) => this.#onExit(exit));
    await child.ready;
    this.#logger.info({ handlerPid: child.pid }, 'egress handler started');
    child.send({
      type: 'start',
      job: {
        egress,
        info: encodeInfo(this.#info),
        workDir: this.#workDir,
        rescueDir: this.#options.rescueDir,
        tools,
        logLevel: this.#logger.level,
      },
    });
    await this.#until(() => this.#isPrepared || this.#isFinal, PREPARE_TIMEOUT_MS);
    if (this.#isFinal) {
      throw errorOf(this.#info);
    }
    if (!this.#isPrepared) {
      void child.kill(0);
      throw new ServiceError('internal', 'egress handler failed to start: storage did not answer in time');
    }
  }

  /** Asks the job to end; answers with its state afterwards (ENDING, or final). */
  async stop(reason: EndReason): Promise<EgressInfo> {
    this.#child?.send({ type: 'stop', reason });
    await this.#until(() => this.#info.status >= EgressStatus.EGRESS_ENDING, STOP_ANSWER_TIMEOUT_MS);
    return this.#info;
  }

  /**
   * Adds and removes stream addresses; answers with the state afterwards.
   * @throws ServiceError what the streams refuse; nothing has changed then.
   */
  async updateStreams(add: string[], remove: string[]): Promise<EgressInfo> {
    const requestId = ++this.#requestId;
    this.#child?.send({ type: 'update_stream', requestId, add, remove });
    await this.#until(() => this.#streamAnswers.has(requestId), STREAM_ANSWER_TIMEOUT_MS);
    const answer = this.#streamAnswers.get(requestId);
    this.#streamAnswers.delete(requestId);
    if (answer === undefined) {
      throw new ServiceError('unavailable', 'the egress handler did not answer UpdateStream');
    }
    if (answer.error !== undefined) {
      throw new ServiceError(answer.error.code, answer.error.message);
    }
    return this.#info;
  }

  /** Last resort at shutdown: the recording on disk is still finished. */
  async kill(): Promise<void> {
    await this.#child?.kill(0);
    await this.ended;
  }

  get #isFinal(): boolean {
    return this.#info.status > EgressStatus.EGRESS_ENDING;
  }

  #onMessage(message: FromHandler): void {
    switch (message.type) {
      case 'prepared':
        this.#isPrepared = true;
        break;
      case 'spool':
        this.#spools.set(message.spool.output, message.spool);
        this.#track = message.track;
        break;
      case 'stream_updated':
        this.#streamAnswers.set(message.requestId, message);
        break;
      case 'update':
        this.#update(decodeInfo(message.info));
        if (this.#isFinal) {
          setTimeout(() => void this.#child?.kill(0), EXIT_GRACE_MS).unref();
        }
        break;
    }
    this.#wake();
  }

  #update(info: EgressInfo): void {
    this.#info = info;
    this.#options.onUpdate(info);
  }

  async #onExit(exit: ChildExit): Promise<void> {
    const { logger, tools, egress, rescueDir } = this.#options;
    logger.info({ cause: exit.cause, peakRssBytes: exit.peakRssBytes }, 'egress handler ended');
    if (!this.#isFinal) {
      const failure = crashError(exit);
      const record = new EgressRecord(this.#info, (info) => {
        this.#update(info);
      });
      await recoverOutputs({
        ...{ egress, record, tools, rescueDir, logger },
        spools: [...this.#spools.values()],
        track: this.#track,
        workDir: this.#workDir,
      });
      record.fail(failure);
    }
    await this.#removeWorkDir();
    this.#wake();
    this.#resolveEnded();
  }

  /** The folder stays when it holds a recording that found no other place. */
  async #removeWorkDir(): Promise<void> {
    const { fileResults, segmentResults } = this.#info;
    const locations = [
      ...fileResults.map(({ location }) => location),
      ...segmentResults.map(({ playlistLocation }) => playlistLocation),
    ];
    const location = locations.find((place) => place.startsWith(this.#workDir + path.sep));
    if (location !== undefined) {
      this.#logger.error({ location }, 'recording left in the work folder: move it to where it belongs');
      return;
    }
    await rm(this.#workDir, { recursive: true, force: true, maxRetries: 3 }).catch((error: unknown) => {
      this.#logger.warn({ err: error }, 'work folder not removed');
    });
  }

  #failRecord(error: ServiceError): void {
    new EgressRecord(this.#info, (info) => {
      this.#update(info);
    }).fail(error);
  }

  #wake(): void {
    for (const waiter of [...this.#waiters]) {
      waiter();
    }
  }

  /** Resolves when the condition holds, the process is gone, or the time is over. */
  async #until(condition: () => boolean, timeoutMs: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const check = (): void => {
        if (condition()) {
          finish();
        }
      };
      const finish = (): void => {
        clearTimeout(timer);
        this.#waiters.delete(check);
        resolve();
      };
      const timer = setTimeout(finish, timeoutMs);
      this.#waiters.add(check);
      void this.ended.then(finish);
      check();
    });
  }
}

function crashError(exit: ChildExit): ServiceError {
  const code = exit.cause === 'out_of_memory' ? 'permission_denied' : 'internal';
  return new ServiceError(code, `${exit.text}; what was recorded until then is kept`);
}

const CODE_BY_STATUS: Readonly<
  Record<number, 'invalid_argument' | 'permission_denied' | 'unavailable' | 'unimplemented' | 'not_found'>
> = {
  400: 'invalid_argument',
  403: 'permission_denied',
  404: 'not_found',
  501: 'unimplemented',
  503: 'unavailable',
};

function errorOf(info: EgressInfo): ServiceError {
  return new ServiceError(CODE_BY_STATUS[info.errorCode] ?? 'internal', info.error);
}
