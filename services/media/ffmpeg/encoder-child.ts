import { ServiceError } from '../../base/errors.ts';
import { exitError, spawnFfmpeg, type FfmpegProcess, type SpawnFfmpegOptions } from './run.ts';

const CLOSE_TIMEOUT_MS = 5_000;

export type EncoderChildOptions = SpawnFfmpegOptions & {
  /** Names the work in errors: "picture encoding". */
  what: string;
  /** Called once, when ffmpeg is gone; with an error unless it ended because we wanted it to. */
  onEnded: (error?: ServiceError) => void;
};

/** An ffmpeg that is fed through stdin for as long as its input lasts: how it ends, and what its end means. */
export class EncoderChild {
  readonly process: FfmpegProcess;
  readonly #done: Promise<void>;
  #failure: ServiceError | undefined;
  #closing = false;

  constructor(options: EncoderChildOptions) {
    const { what, onEnded } = options;
    this.process = spawnFfmpeg(options);
    this.#done = this.process.exited.then((exit) => {
      const early = new ServiceError('internal', `${what}: ffmpeg ended before its input did`);
      const error = this.#failure ?? exitError(exit, what);
      onEnded(error ?? (this.#closing || exit.killed ? undefined : early));
    });
  }

  /** False once nothing more is taken. */
  get isOpen(): boolean {
    return !this.#closing && !this.process.stdin.destroyed;
  }

  /** Reads output; what cannot be read ends ffmpeg, and is what `onEnded` is told. */
  read(act: () => void): void {
    if (this.#failure !== undefined) {
      return;
    }
    try {
      act();
    } catch (error) {
      this.#failure = ServiceError.from(error);
      void this.process.kill();
    }
  }

  /** Ends the input and lets ffmpeg give out what it still holds. Idempotent. */
  async close(): Promise<void> {
    if (!this.#closing) {
      this.#closing = true;
      this.process.stdin.end();
      const timer = setTimeout(() => void this.process.kill(0), CLOSE_TIMEOUT_MS);
      await this.#done;
      clearTimeout(timer);
    }
    return this.#done;
  }
}
