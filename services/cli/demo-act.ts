import * as livekit from '@livekit/protocol';
import { setTimeout as delay } from 'node:timers/promises';
import { messageOf, ServiceError } from '../base/errors.ts';
import { progress, say } from './console.ts';
import type { Expectation } from './demo-check.ts';
import { reach } from './demo-wait.ts';
import type { LiveKitApi } from './livekit-api.ts';

/** One egress job of the demo. */
export type DemoJob = {
  what: string;
  start(): Promise<livekit.EgressInfo>;
  /** Called once while it records, after a third of the time. */
  whileRunning?(egressId: string): Promise<void>;
  /** What the finished job has left behind. */
  results(info: livekit.EgressInfo): Promise<DemoResult[]>;
};

export type DemoResult = { route: string; files: string[]; expected: Expectation };

/** A job that is over, with results to look at, or with what went wrong. */
export type FinishedJob = { what: string; results: DemoResult[]; problems: string[] };

export type ActOptions = {
  api: LiveKitApi;
  title: string;
  jobs: readonly DemoJob[];
  seconds: number;
  signal: AbortSignal;
};

const { EGRESS_ACTIVE, EGRESS_COMPLETE } = livekit.EgressStatus;
const BUSY_TIMEOUT_MS = 15_000;
const BUSY_RETRY_MS = 1000;
const START_TIMEOUT_MS = 45_000;
const FINISH_TIMEOUT_MS = 60_000;

/** Runs jobs side by side for `seconds`. A job that fails leaves the others alone. @throws AbortError. */
export async function playAct(options: ActOptions): Promise<FinishedJob[]> {
  const { title, jobs, seconds, signal } = options;
  say(title);
  const runs = jobs.map((job) => new JobRun(job, options));
  try {
    progress('  starting');
    await Promise.all(runs.map((run) => run.start()));
    const updateAtS = Math.ceil((seconds * 2) / 3);
    for (let second = seconds; second > 0; second -= 1) {
      progress(`  recording, ${second} s left`);
      if (second === updateAtS) {
        await Promise.all(runs.map((run) => run.update()));
      }
      await delay(1000, undefined, { signal });
    }
    progress('  finishing');
    return await Promise.all(runs.map((run) => run.finish()));
  } finally {
    progress('');
    await Promise.all(runs.map((run) => run.abandon()));
  }
}

class JobRun {
  readonly #job: DemoJob;
  readonly #options: ActOptions;
  readonly #problems: string[] = [];
  #egressId = '';
  #isActive = false;
  /** As far as is known. */
  #isRunning = false;

  constructor(job: DemoJob, options: ActOptions) {
    this.#job = job;
    this.#options = options;
  }

  async start(): Promise<void> {
    await this.#attempt(async () => {
      const { api, signal } = this.#options;
      this.#egressId = (await this.#startWhenThereIsRoom()).egressId;
      this.#isRunning = true;
      await reach(api, this.#egressId, EGRESS_ACTIVE, START_TIMEOUT_MS, signal);
      this.#isActive = true;
    });
  }

  /** The node that has just finished one job may need a moment until it takes the next. */
  async #startWhenThereIsRoom(): Promise<livekit.EgressInfo> {
    const deadlineMs = Date.now() + BUSY_TIMEOUT_MS;
    for (;;) {
      try {
        return await this.#job.start();
      } catch (error) {
        const isBusy = error instanceof ServiceError && error.code === 'unavailable';
        if (!isBusy || Date.now() > deadlineMs) {
          throw error;
        }
        await delay(BUSY_RETRY_MS, undefined, { signal: this.#options.signal });
      }
    }
  }

  async update(): Promise<void> {
    await this.#attempt(async () => {
      if (this.#isActive) {
        await this.#job.whileRunning?.(this.#egressId);
      }
    });
  }

  async finish(): Promise<FinishedJob> {
    const results = await this.#attempt(async () => {
      if (!this.#isActive) {
        return [];
      }
      const { api, signal } = this.#options;
      await api.stopEgress(this.#egressId);
      const info = await reach(api, this.#egressId, EGRESS_COMPLETE, FINISH_TIMEOUT_MS, signal);
      this.#isRunning = false;
      return this.#job.results(info);
    });
    return { what: this.#job.what, results: results ?? [], problems: this.#problems };
  }

  /** Nobody waits for a job that was not finished: it may still run on a server that goes on. */
  async abandon(): Promise<void> {
    if (this.#isRunning) {
      await this.#options.api.stopEgress(this.#egressId).catch(() => undefined);
    }
  }

  async #attempt<T>(action: () => Promise<T>): Promise<T | undefined> {
    try {
      return await action();
    } catch (error) {
      this.#options.signal.throwIfAborted();
      this.#problems.push(messageOf(error));
      return undefined;
    }
  }
}
