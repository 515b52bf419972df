import { fork, type ChildProcess } from 'node:child_process';
import { ServiceError } from '../errors.ts';
import type { Logger } from '../logger.ts';
import type { FromChild, ToChild } from './ipc.ts';

const DEFAULT_READY_TIMEOUT_MS = 10_000;
const PING_INTERVAL_MS = 5_000;
/** A child that answers no ping this long has a blocked event loop and records nothing. */
const UNRESPONSIVE_MS = 30_000;

export type ExitCause =
  | 'ended' // exit code 0
  | 'crashed' // any other exit code or a signal nobody here sent
  | 'killed' // kill() was called
  | 'not_ready'
  | 'unresponsive'
  | 'out_of_memory';

export type ChildExit = {
  cause: ExitCause;
  exitCode: number | null;
  signal: string | null;
  /** Highest resident memory seen by pings; 0 when it died before the first. */
  peakRssBytes: number;
  /** One sentence for people. */
  text: string;
};

export type SuperviseOptions<FromApp> = {
  /** A JavaScript file that calls connectParent(). */
  entry: string;
  /** For logs and errors, e.g. "egress handler". */
  name: string;
  logger: Logger;
  onMessage: (message: FromApp) => void;
  readyTimeoutMs?: number;
  pingIntervalMs?: number;
  unresponsiveMs?: number;
  /** 0 = no limit. */
  maxRssBytes?: number;
  env?: NodeJS.ProcessEnv;
};

export type SupervisedChild<ToApp> = {
  readonly pid: number | undefined;
  /** Resolves when the child reported ready; rejects with ServiceError internal when it never does. */
  readonly ready: Promise<void>;
  /** Settles when the process is gone and its process group is swept; never rejects. */
  readonly exited: Promise<ChildExit>;
  send(message: ToApp): void;
  /** SIGTERM to the child, SIGKILL to its whole process group after graceMs. */
  kill(graceMs: number): Promise<ChildExit>;
};

/**
 * Starts a Node program in a process group of its own and watches it: readiness, answers to pings, memory. Whatever it
 * started dies with it, and its death disturbs nobody else.
 */
export function superviseChild<ToApp, FromApp>(options: SuperviseOptions<FromApp>): SupervisedChild<ToApp> {
  return new Supervisor<ToApp, FromApp>(options);
}

class Supervisor<ToApp, FromApp> implements SupervisedChild<ToApp> {
  readonly ready: Promise<void>;
  readonly exited: Promise<ChildExit>;
  readonly #options: SuperviseOptions<FromApp>;
  readonly #child: ChildProcess;
  #resolveReady: () => void = () => undefined;
  #rejectReady: (error: Error) => void = () => undefined;
  #cause: ExitCause | undefined;
  #gone = false;
  #peakRssBytes = 0;
  #pingId = 0;
  #lastPongMs = 0;
  #readyTimer: NodeJS.Timeout | undefined;
  #pingTimer: NodeJS.Timeout | undefined;
  #killTimer: NodeJS.Timeout | undefined;

  constructor(options: SuperviseOptions<FromApp>) {
    this.#options = options;
    this.ready = new Promise((resolve, reject) => {
      this.#resolveReady = resolve;
      this.#rejectReady = reject;
    });
    this.ready.catch(() => undefined);
    // A group of its own: Ctrl-C in the terminal reaches the service alone, which lets its children finish.
    this.#child = fork(options.entry, [], {
      detached: true,
      execArgv: ['--enable-source-maps'],
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      ...(options.env === undefined ? {} : { env: options.env }),
    });
    this.exited = new Promise((resolve) => {
      this.#child.once('exit', (exitCode, signal) => {
        resolve(this.#onExit(exitCode, signal));
      });
      this.#child.once('error', (error) => {
        options.logger.error({ err: error }, 'child process error');
        if (this.#child.pid === undefined) {
          resolve(this.#onExit(null, null));
        }
      });
    });
    this.#child.on('message', (message) => {
      this.#onMessage(message as FromChild<FromApp>);
    });
    this.#readyTimer = setTimeout(() => {
      this.#end('not_ready', 0);
    }, options.readyTimeoutMs ?? DEFAULT_READY_TIMEOUT_MS);
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  send(message: ToApp): void {
    this.#post({ type: 'app', message });
  }

  kill(graceMs: number): Promise<ChildExit> {
    this.#end('killed', graceMs);
    return this.exited;
  }

  #post(message: ToChild<ToApp>): void {
    if (this.#child.connected) {
      this.#child.send(message, () => undefined);
    }
  }

  #onMessage(message: FromChild<FromApp>): void {
    switch (message.type) {
      case 'ready':
        clearTimeout(this.#readyTimer);
        this.#startPings();
        this.#resolveReady();
        break;
      case 'pong':
        this.#lastPongMs = performance.now();
        this.#peakRssBytes = Math.max(this.#peakRssBytes, message.rssBytes);
        this.#checkMemory(message.rssBytes);
        break;
      case 'app':
        this.#options.onMessage(message.message);
        break;
    }
  }

  #startPings(): void {
    this.#lastPongMs = performance.now();
    const unresponsiveMs = this.#options.unresponsiveMs ?? UNRESPONSIVE_MS;
    this.#pingTimer = setInterval(() => {
      if (performance.now() - this.#lastPongMs > unresponsiveMs) {
        this.#end('unresponsive', 0);
      }
      this.#post({ type: 'ping', id: ++this.#pingId });
    }, this.#options.pingIntervalMs ?? PING_INTERVAL_MS);
  }

  #checkMemory(rssBytes: number): void {
    const limit = this.#options.maxRssBytes ?? 0;
    if (limit > 0 && rssBytes > limit) {
      this.#end('out_of_memory', 0);
    }
  }

  #end(cause: ExitCause, graceMs: number): void {
    if (this.#gone) {
      return;
    }
    this.#cause ??= cause;
    clearTimeout(this.#readyTimer);
    if (graceMs > 0 && this.#killTimer === undefined) {
      this.#child.kill('SIGTERM');
      this.#killTimer = setTimeout(() => {
        this.#killGroup();
      }, graceMs);
    } else if (graceMs === 0) {
      this.#killGroup();
    }
  }

  #killGroup(): void {
    const { pid } = this.#child;
    if (pid === undefined) {
      return;
    }
    try {
      process.kill(-pid, 'SIGKILL');
    } catch {
      // Nobody is left in the group.
    }
  }

  #onExit(exitCode: number | null, signal: string | null): ChildExit {
    this.#gone = true;
    clearTimeout(this.#readyTimer);
    clearInterval(this.#pingTimer);
    clearTimeout(this.#killTimer);
    // Encoders the child had started outlive it otherwise.
    this.#killGroup();
    const cause = this.#cause ?? (exitCode === 0 ? 'ended' : 'crashed');
    const exit = {
      cause,
      exitCode,
      signal,
      peakRssBytes: this.#peakRssBytes,
      text: `${this.#options.name} ${describe(cause, exitCode, signal)}`,
    };
    this.#rejectReady(new ServiceError('internal', `${this.#options.name} failed to start: ${exit.text}`));
    return exit;
  }
}

function describe(cause: ExitCause, exitCode: number | null, signal: string | null): string {
  const how = signal === null ? `exit code ${String(exitCode)}` : `signal ${signal}`;
  switch (cause) {
    case 'ended':
      return 'ended';
    case 'crashed':
      return `crashed with ${how}`;
    case 'killed':
      return 'was killed on request';
    case 'not_ready':
      return 'did not become ready in time';
    case 'unresponsive':
      return 'stopped answering';
    case 'out_of_memory':
      return 'used more memory than allowed';
  }
}
