import { FramePacer } from './frame-pacer.ts';

export type PictureSize = { width: number; height: number };

/** The frames of one track, read as they come. */
export class PictureQueue {
  readonly pacer = new FramePacer<VideoFrame>();
  readonly #reader: ReadableStreamDefaultReader<VideoFrame>;
  readonly #onArrival: (framesArrived: number, size: PictureSize, isNewSize: boolean) => void;
  #framesArrived = 0;
  #size: PictureSize = { width: 0, height: 0 };

  constructor(
    frames: ReadableStream<VideoFrame>,
    onArrival: (framesArrived: number, size: PictureSize, isNewSize: boolean) => void,
  ) {
    this.#reader = frames.getReader();
    this.#onArrival = onArrival;
    void this.#read();
  }

  close(): void {
    void this.#reader.cancel().catch(() => undefined);
    this.pacer.close();
  }

  async #read(): Promise<void> {
    for (;;) {
      const { value: frame, done } = await this.#reader.read();
      if (done) {
        return;
      }
      const { displayWidth: width, displayHeight: height } = frame;
      const isNewSize = width !== this.#size.width || height !== this.#size.height;
      this.#size = { width, height };
      this.#framesArrived += 1;
      this.pacer.push(frame, performance.now());
      this.#onArrival(this.#framesArrived, this.#size, isNewSize);
    }
  }
}
