import type { RoomPublisher } from './room-publisher.ts';
import type { SessionMedia } from './session-media.ts';
import type { StateReporter } from './state-reporter.ts';

type ReportedRoom = Pick<RoomPublisher, 'roomSid' | 'hasPublished' | 'setAttributes'>;

const REPORT_INTERVAL_MS = 5_000;
/** After the first media: until then a rate says nothing. */
const FIRST_REPORT_MS = 1_000;

/** Participants hear of every change of an attribute: smaller ones are not worth it. */
const LATENCY_STEP_MS = 50;

/** Tells the API what a session gets: when something changed, and every few seconds. */
export class SessionReport {
  readonly #state: StateReporter;
  readonly #media: SessionMedia;
  readonly #room: ReportedRoom;
  #latencyMs: number | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(state: StateReporter, media: SessionMedia, room: ReportedRoom) {
    this.#state = state;
    this.#media = media;
    this.#room = room;
  }

  start(): void {
    this.#schedule(FIRST_REPORT_MS);
  }

  now(): void {
    const { video, audio } = this.#media.describe();
    this.#state.setRoom(this.#room.roomSid);
    this.#state.setInput(video, audio);
    void this.#state.report();
    this.#reportLatency();
  }

  /** IngressState has no field for it. */
  #reportLatency(): void {
    const latencyMs = LATENCY_STEP_MS * Math.round(this.#media.latencyMs / LATENCY_STEP_MS);
    if (latencyMs !== this.#latencyMs && this.#room.hasPublished) {
      this.#latencyMs = latencyMs;
      this.#room.setAttributes({ 'sluice.ingress.latencyMs': String(latencyMs) });
    }
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
