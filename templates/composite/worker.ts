import type { RecorderOptions } from '../../services/egress/capture/recorder-protocol.ts';
import { connectRecorder, type Recorder } from '../recorder/recorder.ts';
import { Painter } from './painter.ts';
import { PictureQueue } from './picture-queue.ts';
import { FLOWING_FRAMES, type PainterCommand, type PainterEvent } from './scene.ts';

const PREVIEW_FRAMERATE = 30;

/** Paints the stage at a steady rate, and records what it paints when asked to. */
class StageWorker {
  readonly #pictures = new Map<number, PictureQueue>();
  readonly #advanced = new Set<number>();
  readonly #painter = new Painter(new OffscreenCanvas(2, 2), this.#pictures);
  #recorder: Recorder | undefined;
  #periodMs = 1000 / PREVIEW_FRAMERATE;
  #dueMs = performance.now();

  start(): void {
    this.#tick();
  }

  obey(command: PainterCommand): void {
    switch (command.type) {
      case 'show':
        if (this.#recorder === undefined) {
          this.#painter.moveTo(command.canvas);
        }
        return;
      case 'scene':
        this.#painter.setScene(command.scene);
        return;
      case 'picture':
        this.#pictures.set(command.id, new PictureQueue(command.frames));
        return;
      case 'forget':
        this.#pictures.get(command.id)?.close();
        this.#pictures.delete(command.id);
        return;
      case 'record':
        this.#record(command.options, command.audio).then(
          () => tell({ type: 'ready', ready: true }),
          (error: unknown) =>
            tell({ type: 'error', error: error instanceof Error ? error.message : String(error) }),
        );
    }
  }

  async #record(options: RecorderOptions, audio: ReadableStream<AudioData> | undefined): Promise<void> {
    const recorder = await connectRecorder(options);
    // A canvas of its own: what nobody looks at need not be shown as well.
    this.#painter.moveTo(new OffscreenCanvas(options.width, options.height));
    this.#periodMs = 1000 / options.framerate;
    recorder.repeatWith(() => this.#snapshot(performance.now()));
    this.#recorder = recorder;
    if (audio !== undefined) {
      void recorder.readAudio(audio);
    }
  }

  #tick(): void {
    const dueMs = this.#dueMs;
    this.#advance();
    if (this.#painter.paint(this.#advanced) && this.#recorder !== undefined) {
      // Stamped with the time it was due: an even raster, whatever the timers do.
      this.#recorder.addFrame(this.#snapshot(dueMs));
    }
    const lateMs = performance.now() - (dueMs + this.#periodMs);
    // Ticks missed for good are left out, so that time stays true.
    this.#dueMs = dueMs + this.#periodMs * (1 + Math.max(0, Math.floor(lateMs / this.#periodMs)));
    setTimeout(() => this.#tick(), Math.max(0, this.#dueMs - performance.now()));
  }

  /**
   * Close it soon: painting on while a snapshot lives makes Chrome copy the whole canvas first, which costs as much
   * as painting.
   */
  #snapshot(timeMs: number): VideoFrame {
    return new VideoFrame(this.#painter.canvas, { timestamp: Math.round(timeMs * 1000), alpha: 'discard' });
  }

  #advance(): void {
    this.#advanced.clear();
    for (const [id, picture] of this.#pictures) {
      const before = sizeOf(picture.shown);
      if (!picture.advance()) {
        continue;
      }
      this.#advanced.add(id);
      const { width, height } = sizeOf(picture.shown);
      const { framesShown } = picture;
      if (framesShown === FLOWING_FRAMES || width !== before.width || height !== before.height) {
        tell({ type: 'progress', id, width, height, framesShown });
      }
    }
  }
}

function sizeOf(frame: VideoFrame | undefined): { width: number; height: number } {
  return { width: frame?.displayWidth ?? 0, height: frame?.displayHeight ?? 0 };
}

function tell(event: PainterEvent): void {
  globalThis.postMessage(event);
}

const stage = new StageWorker();
globalThis.onmessage = (event: MessageEvent<PainterCommand>) => {
  stage.obey(event.data);
};
stage.start();
