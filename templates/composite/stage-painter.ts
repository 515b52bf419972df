import type { RecorderOptions } from '../../services/egress/capture/recorder-protocol.ts';
import { captureTab, framesOf, samplesOf } from '../shared/media-streams.ts';
import { startWorker } from '../shared/start-worker.ts';
import type { PainterCommand, PainterEvent, Scene } from './scene.ts';

const PICTURE_BUFFER_FRAMES = 4;
/** A capture begins with its first frame: at one a second, a recording would begin a second later. */
const CAPTURE_FRAMERATE = 30;

/** What is known of a picture's frames so far. */
export type PictureProgress = { width: number; height: number; framesArrived: number };

/** The page's side of the painting worker. */
export class StagePainter {
  readonly #worker = new Worker('worker.js', { type: 'module' });
  readonly #onProgress: (id: number, progress: PictureProgress) => void;
  #lastId = 0;

  constructor(onProgress: (id: number, progress: PictureProgress) => void) {
    this.#onProgress = onProgress;
    this.#worker.addEventListener('message', ({ data }: MessageEvent<PainterEvent>) => {
      if (data.type === 'progress') {
        this.#onProgress(data.id, data);
      }
    });
  }

  /** Shows the stage to people who open the page; a recording needs no canvas on the page. */
  showIn(element: HTMLCanvasElement): void {
    const canvas = element.transferControlToOffscreen();
    this.#send({ type: 'show', canvas }, [canvas]);
  }

  setScene(scene: Scene): void {
    this.#send({ type: 'scene', scene });
  }

  /** Takes the frames of a track from now on; answers the id to use in scenes. */
  addPicture(track: MediaStreamTrack): number {
    const frames = framesOf(track, PICTURE_BUFFER_FRAMES);
    this.#lastId += 1;
    this.#send({ type: 'picture', id: this.#lastId, frames }, [frames]);
    return this.#lastId;
  }

  setLead(id: number, leadMs: number): void {
    this.#send({ type: 'lead', id, leadMs });
  }

  removePicture(id: number): void {
    this.#send({ type: 'forget', id });
  }

  /**
   * Records the stage as it is painted together with the sound this tab plays.
   * @throws Error when the browser cannot capture the sound or encode the picture.
   */
  async record(options: RecorderOptions): Promise<{ hasAudio: boolean }> {
    const stream = await captureTab({ frameRate: CAPTURE_FRAMERATE });
    for (const track of stream.getVideoTracks()) {
      // Chrome hands out a tab's sound only together with its picture.
      track.stop();
    }
    const [track] = stream.getAudioTracks();
    const audio = track === undefined ? undefined : samplesOf(track);
    const command: PainterCommand = { type: 'record', options, audio };
    await startWorker(this.#worker, command, audio === undefined ? [] : [audio]);
    return { hasAudio: audio !== undefined };
  }

  #send(command: PainterCommand, transfer: Transferable[] = []): void {
    this.#worker.postMessage(command, transfer);
  }
}
