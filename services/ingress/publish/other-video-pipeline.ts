import { SafeEmitter } from '../../base/events.ts';
import { parseSps } from '../../media/codecs/h264-sps.ts';
import type { VideoCodec } from '../../model/packet.ts';
import type { FlvVideo } from '../../protocol/flv.ts';
import { MonotonicTime } from './encoder-clock.ts';
import { KeyframeInterval } from './keyframe-interval.ts';
import { createOtherBitstream, type OtherBitstream, type PictureSize } from './other-bitstream.ts';
import { sizeReason } from './passthrough-decision.ts';
import type { VideoPipelineEvents, VideoPipelineOptions } from './video-pipeline.ts';
import { VideoTranscoder } from './video-transcoder.ts';

type OtherCodec = Exclude<VideoCodec, 'h264'>;

/** All codecs of Enhanced RTMP but H.264: VP8 and VP9 untouched, what a room cannot take as H.264. */
export class OtherVideoPipeline {
  readonly events: SafeEmitter<VideoPipelineEvents>;
  readonly codec: OtherCodec;
  readonly #options: VideoPipelineOptions;
  readonly #bitstream: OtherBitstream;
  readonly #time = new MonotonicTime();
  #transcoder: VideoTranscoder | undefined;
  #transcodedSize: PictureSize | undefined;
  #mode: 'passthrough' | 'transcode' | undefined;
  #published = false;
  readonly #keyframes = new KeyframeInterval((intervalS) => {
    this.events.emit('slowKeyframes', { intervalS });
  });
  #waitsForKey = true;
  #closed = false;

  constructor(codec: OtherCodec, options: VideoPipelineOptions) {
    this.codec = codec;
    this.#options = options;
    this.#bitstream = createOtherBitstream(codec);
    this.events = new SafeEmitter(options.logger);
  }

  /** What the encoder sends; undefined before the stream has told its size. */
  get source(): PictureSize | undefined {
    return this.#bitstream.size;
  }

  /** @throws ServiceError malformed: the encoder's fault. */
  push(dtsUs: number, video: FlvVideo): void {
    if (video.packet === 'config' && video.data.length > 0) {
      this.#bitstream.configure(video.data);
    }
    if (video.packet !== 'frame' || video.data.length === 0 || (this.#waitsForKey && !video.key)) {
      return;
    }
    const data = this.#bitstream.complete(video.data, video.key);
    if (data === undefined) {
      return;
    }
    this.#waitsForKey = false;
    const { admit } = this.#options;
    const timeUs = admit === undefined ? dtsUs : admit(dtsUs, video.key);
    if (timeUs === undefined) {
      this.#keyframes.interrupted();
      return;
    }
    if (video.key) {
      this.#decide();
    }
    const ptsUs = timeUs + video.compositionMs * 1000;
    if (this.#mode === 'transcode') {
      this.#transcoder?.write({ dtsUs: timeUs, ptsUs, unit: { nals: [], key: video.key, data } });
    } else {
      this.#keyframes.onFrame(ptsUs, video.key);
      this.#emit(this.codec, ptsUs, video.key, data, this.#bitstream.size);
    }
  }

  /** Frames are missing: nothing is taken before the next key frame. */
  interrupted(): void {
    this.#waitsForKey = true;
    this.#keyframes.interrupted();
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#transcoder?.close();
  }

  /** At every key frame; a stream that is transcoded stays so, and its transcoder begins anew with another size. */
  #decide(): void {
    const { size, obstacle } = this.#bitstream;
    const tooLarge = size === undefined ? undefined : sizeReason(this.#options.settings, size);
    const reason = obstacle ?? tooLarge;
    if (
      this.#mode === undefined ||
      (this.#mode === 'passthrough' && reason !== undefined && !this.#published)
    ) {
      this.#mode = reason === undefined ? 'passthrough' : 'transcode';
      this.events.emit(
        'verdict',
        reason === undefined ? { mode: 'passthrough' } : { mode: 'transcode', reason },
      );
    }
    if (
      this.#mode === 'transcode' &&
      (this.#transcoder === undefined || !sameSize(size, this.#transcodedSize))
    ) {
      this.#startTranscoder(size);
    }
  }

  #startTranscoder(size: PictureSize | undefined): void {
    const { logger, ffmpegPath, settings } = this.#options;
    const previous = this.#transcoder;
    previous?.close().catch((error: unknown) => {
      logger.warn({ err: error }, 'video transcoder did not close');
    });
    const transcoder = new VideoTranscoder({
      ...{ ffmpegPath, logger, target: settings.target, codec: this.codec },
      width: size?.width ?? 0,
      height: size?.height ?? 0,
    });
    this.#transcoder = transcoder;
    this.#transcodedSize = size;
    transcoder.events.on('frame', ({ ptsUs, unit, sps }) => {
      this.#emit('h264', ptsUs, unit.key, unit.data, this.#published ? undefined : parseSps(sps));
    });
    transcoder.events.on('closed', ({ error }) => {
      if (error !== undefined && transcoder === this.#transcoder && !this.#closed) {
        this.events.emit('failed', { error });
      }
    });
  }

  #emit(
    codec: VideoCodec,
    ptsUs: number,
    key: boolean,
    data: Uint8Array,
    size: PictureSize | undefined,
  ): void {
    if (!this.#published) {
      if (!key) {
        return; // nothing can be decoded before the first key frame
      }
      this.#published = true;
      const { width = 0, height = 0 } = size ?? {};
      this.events.emit('format', { kind: 'video', codec, width, height });
    }
    const timeUs = this.#time.next(ptsUs);
    this.events.emit('packet', { kind: 'video', ptsUs: timeUs, dtsUs: timeUs, durationUs: 0, key, data });
  }
}

function sameSize(a: PictureSize | undefined, b: PictureSize | undefined): boolean {
  return a?.width === b?.width && a?.height === b?.height;
}
