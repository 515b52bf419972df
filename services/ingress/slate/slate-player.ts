import type { SlateFilm } from './slate-film.ts';

/** Sends a film's messages at their times, over and over, until it is stopped: no more work than copying them. */
export class SlatePlayer {
  readonly #film: SlateFilm;
  readonly #send: (timestampMs: number, body: Buffer) => void;
  readonly #startedMs = performance.now();
  #timer: NodeJS.Timeout | undefined;
  #next = 0;
  #stopped = false;

  /** Starts at once. @param send bodies are its own. */
  constructor(film: SlateFilm, send: (timestampMs: number, body: Buffer) => void) {
    this.#film = film;
    this.#send = send;
    send(0, Buffer.from(film.header));
    this.#play();
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  #play(): void {
    const { frames, durationMs } = this.#film;
    const elapsedMs = performance.now() - this.#startedMs;
    for (;;) {
      const frame = frames[this.#next % frames.length];
      if (frame === undefined || this.#stopped) {
        return;
      }
      const atMs = Math.floor(this.#next / frames.length) * durationMs + frame.atMs;
      if (atMs > elapsedMs) {
        this.#timer = setTimeout(() => this.#play(), atMs - elapsedMs);
        return;
      }
      this.#next += 1;
      this.#send(atMs, Buffer.from(frame.body));
    }
  }
}
