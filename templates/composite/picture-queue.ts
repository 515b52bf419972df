/** Frames that wait for their turn. One in reserve evens out arrival; with more the picture would fall behind the sound. */
const MAX_WAITING = 2;

/**
 * The frames of one picture between their arrival and the moment they are painted. Taking one per tick, in order,
 * shows each frame once although arrival jitters around the ticks.
 */
export class PictureQueue {
  readonly #reader: ReadableStreamDefaultReader<VideoFrame>;
  readonly #waiting: VideoFrame[] = [];
  #shown: VideoFrame | undefined;
  #framesShown = 0;

  constructor(frames: ReadableStream<VideoFrame>) {
    this.#reader = frames.getReader();
    void this.#read();
  }

  /** What is to be seen now; undefined before the first frame. */
  get shown(): VideoFrame | undefined {
    return this.#shown;
  }

  get framesShown(): number {
    return this.#framesShown;
  }

  /** Moves on to the next frame; false when there is none and the shown one stays. */
  advance(): boolean {
    const next = this.#waiting.shift();
    if (next === undefined) {
      return false;
    }
    this.#shown?.close();
    this.#shown = next;
    this.#framesShown += 1;
    return true;
  }

  close(): void {
    void this.#reader.cancel().catch(() => undefined);
    this.#shown?.close();
    this.#shown = undefined;
    for (const frame of this.#waiting.splice(0)) {
      frame.close();
    }
  }

  async #read(): Promise<void> {
    for (;;) {
      const { value: frame, done } = await this.#reader.read();
      if (done) {
        return;
      }
      this.#waiting.push(frame);
      if (this.#waiting.length > MAX_WAITING) {
        this.#waiting.shift()?.close();
      }
    }
  }
}
