import type { SessionMedia } from './session-media.ts';
import type { StateReporter } from './state-reporter.ts';

const REPORT_INTERVAL_MS = 5_000;
/** After the first media: until then a rate says nothing. */
const FIRST_REPORT_MS = 1_000;

/** Tells the API what a session gets: when something changed, and every few seconds. */
export class SessionReport {
  readonly #state: StateReporter;
  readonly #media: SessionMedia;
  readonly #roomSid: () => string;
  #timer: NodeJS.Timeout | undefined;

  /** @param roomSid '' while the room is not joined. */
  constructor(state: StateReporter, media: SessionMedia, roomSid: () => string) {
    this.#state = state;
    this.#media = media;
    this.#roomSid = roomSid;
  }

  start(): void {
    this.#schedule(FIRST_REPORT_MS);
  }

  now(): void {
    const { video, audio } = this.#media.describe();
    this.#state.setRoom(this.#roomSid());
    this.#state.setInput(video, audio);
    void this.#state.report();
  }

  /** No more reports by the clock. Idempotent. */
  stop(): void {
    clearTimeout(this.#timer);
  }

  #schedule(delayMs: number): void {
    this.#timer = setTimeout(() => {
      this.now();
      this.#schedule(REPORT_INTERVAL_MS);
    }, delayMs);
  }
}
