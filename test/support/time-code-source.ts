import { execFileSync } from 'node:child_process';
import { createWriteStream, type WriteStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { BARCODE } from '../../fixtures/flash-beep.ts';

const WHITE = 235;
const BLACK = 16;
const CODES = 2 ** BARCODE.bits;

/**
 * A camera whose pictures carry a number, and that knows when it took each of them: raw frames through a named pipe, for
 * an ffmpeg that encodes them as they come. Times are performance.now() of this process.
 */
export class TimeCodeSource {
  /** Input arguments for ffmpeg. */
  readonly input: readonly string[];
  /** By the number in the picture; the newest one counts. */
  readonly takenMs: number[] = Array.from({ length: CODES }, () => Number.NaN);
  readonly #size: { width: number; height: number };
  readonly #folder: string;
  readonly #pipe: WriteStream;
  readonly #frame: Buffer;
  readonly #stepMs: number;
  #number = 0;
  #timer: NodeJS.Timeout | undefined;
  #isBusy = false;

  static async start(options: {
    width: number;
    height: number;
    framesPerSecond: number;
  }): Promise<TimeCodeSource> {
    const folder = await mkdtemp(path.join(tmpdir(), 'sluice-camera-'));
    execFileSync('mkfifo', [path.join(folder, 'pictures')]);
    return new TimeCodeSource(folder, options);
  }

  private constructor(
    folder: string,
    { width, height, framesPerSecond }: { width: number; height: number; framesPerSecond: number },
  ) {
    const fifo = path.join(folder, 'pictures');
    this.#folder = folder;
    this.#size = { width, height };
    this.#stepMs = 1000 / framesPerSecond;
    this.#frame = background(width, height);
    this.#pipe = createWriteStream(fifo);
    this.#pipe.on('error', () => undefined); // the encoder ended first
    this.input = [
      ...['-fflags', 'nobuffer', '-probesize', '32', '-analyzeduration', '0'],
      ...['-use_wallclock_as_timestamps', '1', '-f', 'rawvideo', '-pix_fmt', 'yuv420p'],
      ...['-video_size', `${width}x${height}`, '-framerate', String(framesPerSecond), '-i', fifo],
    ];
    const startMs = performance.now();
    let ticks = 0;
    const tick = (): void => {
      this.#take();
      ticks += 1;
      this.#timer = setTimeout(tick, Math.max(0, startMs + ticks * this.#stepMs - performance.now()));
    };
    this.#pipe.once('open', tick);
  }

  async close(): Promise<void> {
    clearTimeout(this.#timer);
    this.#pipe.destroy();
    await rm(this.#folder, { recursive: true, force: true });
  }

  /** Left out while the encoder has not read the one before, as a camera does. */
  #take(): void {
    if (this.#isBusy) {
      return;
    }
    this.#number = (this.#number + 1) % CODES;
    this.#draw(this.#number);
    this.takenMs[this.#number] = performance.now();
    this.#isBusy = true;
    this.#pipe.write(this.#frame, () => {
      this.#isBusy = false;
    });
  }

  #draw(value: number): void {
    const { width, height } = this.#size;
    const [top, bottom] = [Math.round(BARCODE.top * height), Math.round(BARCODE.bottom * height)];
    const cell = ((BARCODE.right - BARCODE.left) * width) / BARCODE.bits;
    for (let index = 0; index < BARCODE.bits; index += 1) {
      const isOn = (value >> (BARCODE.bits - 1 - index)) & 1;
      const left = Math.round(BARCODE.left * width + index * cell);
      const right = Math.round(BARCODE.left * width + (index + 1) * cell);
      for (let y = top; y < bottom; y += 1) {
        this.#frame.fill(isOn === 1 ? WHITE : BLACK, y * width + left, y * width + right);
      }
    }
  }
}

/** Diagonal stripes, no colour: something to encode. */
function background(width: number, height: number): Buffer {
  const frame = Buffer.alloc((width * height * 3) / 2, 128);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      frame[y * width + x] = 40 + ((x + y) % 128);
    }
  }
  return frame;
}
