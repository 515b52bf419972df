import { ServiceError } from '../../base/errors.ts';
import { SafeEmitter } from '../../base/events.ts';
import type { VideoCodec } from '../../model/packet.ts';
import { flvVideoBody, type FlvVideo } from '../../protocol/flv.ts';
import { parseRtmpVideo } from '../../protocol/flv-enhanced.ts';
import { OtherVideoPipeline } from './other-video-pipeline.ts';
import { VideoPipeline, type VideoPipelineEvents, type VideoPipelineOptions } from './video-pipeline.ts';

const ENHANCED_FLAG = 0x80;
const FORWARDED = ['format', 'packet', 'verdict', 'slowKeyframes', 'failed'] as const;

/** Video messages of any codec, each to the pipeline for it. A room gets one picture: the first track's. */
export class VideoInput {
  readonly events: SafeEmitter<VideoPipelineEvents>;
  readonly #options: VideoPipelineOptions;
  readonly #h264: VideoPipeline;
  #other: OtherVideoPipeline | undefined;
  #codec: VideoCodec | undefined;
  #trackId: number | undefined;

  constructor(options: VideoPipelineOptions) {
    this.#options = options;
    this.events = new SafeEmitter(options.logger);
    this.#h264 = new VideoPipeline(options);
    this.#forward(this.#h264);
  }

  /** As the encoder sends it; h264 until it says otherwise. */
  get codec(): VideoCodec {
    return this.#codec ?? 'h264';
  }

  /** What the encoder sends; undefined before its first parameter set. */
  get source(): { width: number; height: number; framerate?: number | undefined } | undefined {
    return this.#other === undefined ? this.#h264.source : this.#other.source;
  }

  /** @param dtsUs decoding time on the session clock. @throws ServiceError malformed, unimplemented. */
  push(dtsUs: number, body: Buffer): void {
    if (((body[0] ?? 0) & ENHANCED_FLAG) === 0 && this.#other === undefined) {
      this.#h264.push(dtsUs, body);
      return;
    }
    for (const { codec, trackId, video } of parseRtmpVideo(body)) {
      this.#trackId ??= trackId;
      if (trackId === this.#trackId) {
        this.#take(dtsUs, codec, video);
      }
    }
  }

  /** Frames are missing: nothing is taken before the next key frame. */
  interrupted(): void {
    this.#h264.interrupted();
    this.#other?.interrupted();
  }

  async close(): Promise<void> {
    await Promise.all([this.#h264.close(), this.#other?.close()]);
  }

  #take(dtsUs: number, codec: VideoCodec, video: FlvVideo): void {
    if (this.#codec !== undefined && codec !== this.#codec) {
      throw new ServiceError(
        'unimplemented',
        `video codec changed from ${this.#codec} to ${codec}: stop and start the encoder to change it`,
      );
    }
    this.#codec = codec;
    if (codec !== 'h264') {
      this.#other ??= this.#forward(new OtherVideoPipeline(codec, this.#options));
      this.#other.push(dtsUs, video);
    } else if (video.packet === 'config' || video.packet === 'frame') {
      this.#h264.push(dtsUs, Buffer.concat(flvVideoBody(video)));
    }
  }

  #forward<T extends VideoPipeline | OtherVideoPipeline>(pipeline: T): T {
    for (const name of FORWARDED) {
      pipeline.events.on(name, (event) => {
        this.events.emit(name, event);
      });
    }
    return pipeline;
  }
}
