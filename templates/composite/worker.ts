import type { RecorderOptions } from '../../services/egress/capture/recorder-protocol.ts';
import { connectRecorder, type Recorder } from '../recorder/recorder.ts';
import { HOLD_MS } from './frame-pacer.ts';
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
        this.#addPicture(command.id, command.frames);
        return;
      case 'lead':
        this.#pictures.get(command.id)?.pacer.setLead(command.leadMs);
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
    recorder.repeatWith(() => this.#snapshot(performance.now() - HOLD_MS));
    this.#recorder = recorder;
    if (audio !== undefined) {
      void recorder.readAudio(audio);
    }
  }

  #tick(): void {
    const dueMs = this.#dueMs;
    this.#advance(dueMs);
    if (this.#painter.paint(this.#advanced) && this.#recorder !== undefined) {
      // Stamped with the time it was due: an even raster, whatever the timers do. Sound did not wait as frames do.
      this.#recorder.addFrame(this.#snapshot(dueMs - HOLD_MS));
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

  #advance(tickMs: number): void {
    this.#advanced.clear();
    for (const [id, { pacer }] of this.#pictures) {
      if (pacer.advance(tickMs, this.#periodMs, this.#recorder?.monotonicOffsetMs)) {
        this.#advanced.add(id);
      }
    }
  }

  #addPicture(id: number, frames: ReadableStream<VideoFrame>): void {
    const picture = new PictureQueue(frames, (framesArrived, { width, height }, isNewSize) => {
      if (framesArrived === FLOWING_FRAMES || isNewSize) {
        tell({ type: 'progress', id, width, height, framesArrived });
      }
    });
    this.#pictures.set(id, picture);
  }
}

function tell(event: PainterEvent): void {
  globalThis.postMessage(event);
}

const stage = new StageWorker();
globalThis.onmessage = (event: MessageEvent<PainterCommand>) => {
  stage.obey(event.data);
};
stage.start();
