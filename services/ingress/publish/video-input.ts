import type { SafeEmitter } from '../../base/events.ts';
import type { VideoCodec } from '../../model/packet.ts';
import { parseRtmpVideo } from '../../protocol/flv-enhanced.ts';
import { SideTracks } from './side-tracks.ts';
import type { StreamHeader } from './video-bitstream.ts';
import { VideoPipeline, type VideoPipelineEvents, type VideoPipelineOptions } from './video-pipeline.ts';

/** Video messages of any codec. A room gets one picture: the first track's, the others are its smaller sizes. */
export class VideoInput {
  readonly #pipeline: VideoPipeline;
  readonly #sideTracks: SideTracks;
  #trackId: number | undefined;

  constructor(options: Omit<VideoPipelineOptions, 'sideTracks'>) {
    this.#sideTracks = new SideTracks(options);
    this.#pipeline = new VideoPipeline({ ...options, sideTracks: this.#sideTracks });
  }

  get events(): SafeEmitter<VideoPipelineEvents> {
    return this.#pipeline.events;
  }

  /** As the encoder sends it; h264 until it says otherwise. */
  get codec(): VideoCodec {
    return this.#pipeline.codec;
  }

  /** What the encoder sends; undefined before its first header. */
  get source(): StreamHeader | undefined {
    return this.#pipeline.source;
  }

  /** @param dtsUs decoding time on the session clock. @throws ServiceError as VideoPipeline.push. */
  push(dtsUs: number, body: Buffer): void {
    for (const { codec, trackId, video } of parseRtmpVideo(body)) {
      this.#trackId ??= trackId;
      if (trackId === this.#trackId) {
        this.#pipeline.push(dtsUs, codec, video);
      } else {
        this.#sideTracks.push(trackId, dtsUs, codec, video);
      }
    }
  }

  /** Frames are missing: nothing is taken before the next key frame. */
  interrupted(): void {
    this.#pipeline.interrupted();
  }

  /** Whether anybody is to get the picture; yes until told otherwise. */
  setWatched(isWatched: boolean): void {
    this.#pipeline.setWatched(isWatched);
  }

  async close(): Promise<void> {
    await this.#pipeline.close();
  }
}
