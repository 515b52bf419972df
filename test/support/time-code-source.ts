import { execFileSync } from 'node:child_process';
import { createWriteStream, type WriteStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { BARCODE } from '../../fixtures/flash-beep.ts';
import { liveMatroska } from './live-matroska.ts';

const WHITE = 235;
const BLACK = 16;
const CODES = 2 ** BARCODE.bits;
const SOUND = { sampleRateHz: 48_000, channels: 2, blockMs: 10, toneHz: 500, amplitude: 3_000 } as const;

type Picture = { width: number; height: number; framesPerSecond: number };

/**
 * A camera with a microphone, whose pictures carry a number and that knows when it took each of them: raw pictures and
 * sound on one clock through a named pipe, for an ffmpeg that encodes them as they come. Sound is handed over in blocks of
 * 10 ms as soon as each has been heard. Times are performance.now() of this process.
 */
export class TimeCodeSource {
  /** Numbers run from 1, and go on with 0 behind the last. */
  static readonly codes = CODES;
  /** Input arguments for ffmpeg: stream 0 is the picture, stream 1 the sound. */
  readonly input: readonly string[];
  /** By the number in the picture; the newest one counts. */
  readonly takenMs: number[] = Array.from({ length: CODES }, () => Number.NaN);
  readonly #size: Picture;
  readonly #folder: string;
  readonly #pipe: WriteStream;
  readonly #frame: Buffer;
  readonly #sound = tone();
  #startMs = 0;
  #number = 0;
  #timers: NodeJS.Timeout[] = [];
  #isBusy = false;

  static async start(options: Picture): Promise<TimeCodeSource> {
    const folder = await mkdtemp(path.join(tmpdir(), 'sluice-camera-'));
    execFileSync('mkfifo', [path.join(folder, 'camera')]);
    return new TimeCodeSource(folder, options);
  }

  private constructor(folder: string, picture: Picture) {
    const fifo = path.join(folder, 'camera');
    this.#folder = folder;
    this.#size = picture;
    this.#frame = background(picture.width, picture.height);
    this.#pipe = createWriteStream(fifo);
    this.#pipe.on('error', () => undefined); // the encoder ended first
    this.input = [
      // Without `-fflags nobuffer`, which throws away the pictures that were read while probing.
      ...['-probesize', '32', '-analyzeduration', '0', '-fpsprobesize', '0', '-f', 'matroska', '-i', fifo],
    ];
    this.#pipe.once('open', () => {
      this.#startMs = performance.now();
      this.#pipe.write(liveMatroska.header({ ...picture, ...SOUND }));
      this.#every(1000 / picture.framesPerSecond, () => {
        this.#take();
      });
      this.#every(SOUND.blockMs, (index) => {
        this.#listen(index);
      });
    });
  }

  async close(): Promise<void> {
    this.#timers.forEach(clearTimeout);
    this.#pipe.destroy();
    await rm(this.#folder, { recursive: true, force: true });
  }

  /** @param act gets 0, 1, 2, … at the start and after each step. */
  #every(stepMs: number, act: (index: number) => void): void {
    const slot = this.#timers.length;
    let index = 0;
    const tick = (): void => {
      act(index);
      index += 1;
      const dueMs = this.#startMs + index * stepMs - performance.now();
      this.#timers[slot] = setTimeout(tick, Math.max(0, dueMs));
    };
    tick();
  }

  /** Left out while the encoder has not read the one before, as a camera does. */
  #take(): void {
    if (this.#isBusy) {
      return;
    }
    this.#number = (this.#number + 1) % CODES;
    this.#draw(this.#number);
    const nowMs = performance.now();
    this.takenMs[this.#number] = nowMs;
    this.#isBusy = true;
    this.#pipe.write(liveMatroska.blockHead('picture', nowMs - this.#startMs, this.#frame.length));
    this.#pipe.write(this.#frame, () => {
      this.#isBusy = false;
    });
  }

  /** The block that ends now. */
  #listen(index: number): void {
    if (index > 0) {
      this.#pipe.write(liveMatroska.blockHead('sound', (index - 1) * SOUND.blockMs, this.#sound.length));
      this.#pipe.write(this.#sound);
    }
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

/** A block of sound that can be repeated: the tone's period divides its length. */
function tone(): Buffer {
  const { sampleRateHz, channels, blockMs, toneHz, amplitude } = SOUND;
  const samples = (sampleRateHz * blockMs) / 1000;
  const block = Buffer.alloc(samples * channels * 2);
  for (let index = 0; index < samples * channels; index += 1) {
    const angle = (2 * Math.PI * toneHz * Math.floor(index / channels)) / sampleRateHz;
    block.writeInt16LE(Math.round(amplitude * Math.sin(angle)), index * 2);
  }
  return block;
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
