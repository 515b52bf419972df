import { SafeEmitter } from '../../base/events.ts';
import type { Logger } from '../../base/logger.ts';
import { buildAvcConfig } from '../../media/codecs/h264-avcc.ts';
import { joinLengthPrefixed } from '../../media/codecs/h264.ts';
import { EncoderChild } from '../../media/ffmpeg/encoder-child.ts';
import { ivfFrame, ivfHeader } from '../../media/ffmpeg/ivf.ts';
import type { VideoCodec } from '../../model/packet.ts';
import { FLV_TAG, flvFileHeader, flvTag, flvVideoBody } from '../../protocol/flv.ts';
import { createEncodedOutput, type EncodedFrame } from './encoded-output.ts';
import { videoTranscodeArgs, type TranscodeTarget } from './video-transcoder-args.ts';
import type { SourceFrame } from './video-bitstream.ts';

export type VideoTranscoderOptions = {
  ffmpegPath: string;
  target: TranscodeTarget;
  /** Pictures from a key frame on: all are decoded, and of them only the last one is encoded. */
  catchUp?: readonly SourceFrame[];
  logger: Logger;
} & VideoTranscoderInput;

export type VideoTranscoderInput =
  /** H.264. */
  | { parameterSets: { sps: Uint8Array[]; pps: Uint8Array[] } }
  /** Frames a decoder takes as they come (HEVC: Annex B); the size is a hint. */
  | { codec: Exclude<VideoCodec, 'h264'>; width: number; height: number };

export type VideoTranscoderEvents = {
  /** `index` of the target's layer. */
  frame: EncodedFrame & { index: number };
  /** Last event; `error` when ffmpeg ended by itself. */
  closed: { error?: Error };
};

const MAX_BACKLOG_BYTES = 8_000_000;
/** Pictures may be shown before they are decoded, by an encoder's clock; FLV knows no times below zero. */
const COMPOSITION_MARGIN_US = 1_000_000;

/**
 * Turns any video into constrained-to-baseline H.264 or VP8 without reordering, in one or more sizes, through one
 * ffmpeg child, about a frame behind its input. When ffmpeg cannot keep up, frames are left out up to the next key
 * frame: the delay is bounded.
 */
export class VideoTranscoder {
  readonly events: SafeEmitter<VideoTranscoderEvents>;
  readonly #child: EncoderChild;
  readonly #container: 'flv' | 'ivf';
  #baseUs: number | undefined;
  #waitsForKey = true;
  #droppedFrames = 0;

  constructor(options: VideoTranscoderOptions) {
    const { ffmpegPath, target, logger, catchUp = [] } = options;
    this.events = new SafeEmitter(logger);
    this.#container = 'codec' in options ? 'ivf' : 'flv';
    this.#child = new EncoderChild({
      ...{ ffmpegPath, logger, what: 'video transcoding' },
      args: videoTranscodeArgs(
        target,
        'codec' in options ? options.codec : 'h264',
        this.#startS(catchUp[0], catchUp.at(-1)),
      ),
      extraOutputs: target.layers.length - 1,
      onEnded: (error) => this.events.emit('closed', error === undefined ? {} : { error }),
    });
    const { stdin, outputs } = this.#child.process;
    stdin.write(streamHeader(options));
    for (const [index, stream] of outputs.entries()) {
      const read = createEncodedOutput(target.codec);
      stream.on('data', (bytes: Buffer) => {
        this.#child.read(() => this.#onOutput(index, read(bytes)));
      });
    }
    for (const frame of catchUp) {
      this.write(frame);
    }
  }

  /** ffmpeg's time of `last` when `first` is the first one written. */
  #startS(first: SourceFrame | undefined, last: SourceFrame | undefined): number {
    if (first === undefined || last === undefined) {
      return 0;
    }
    const baseUs = this.#container === 'flv' ? first.dtsUs - COMPOSITION_MARGIN_US : first.ptsUs;
    return (last.ptsUs - baseUs) / 1_000_000;
  }

  get droppedFrames(): number {
    return this.#droppedFrames;
  }

  /** One access unit in decoding order; starts with a key frame. Never blocks. */
  write(frame: SourceFrame): void {
    const { stdin } = this.#child.process;
    if (!this.#child.isOpen) {
      return;
    }
    const behind = stdin.writableLength > MAX_BACKLOG_BYTES;
    this.#waitsForKey = behind || (this.#waitsForKey && !frame.key);
    if (this.#waitsForKey) {
      this.#droppedFrames++;
      return;
    }
    stdin.write(this.#container === 'flv' ? this.#flvTag(frame) : this.#ivfFrame(frame));
  }

  #flvTag({ dtsUs, ptsUs, key, nals }: SourceFrame): Buffer {
    this.#baseUs ??= dtsUs - COMPOSITION_MARGIN_US;
    const compositionMs = Math.round((ptsUs - dtsUs) / 1000);
    const body = flvVideoBody({ packet: 'frame', key, compositionMs, data: joinLengthPrefixed(nals) });
    return flvTag(FLV_TAG.video, Math.round((dtsUs - this.#baseUs) / 1000), body);
  }

  /** Pictures shown before the first key frame cannot be decoded. */
  #ivfFrame({ ptsUs, data }: SourceFrame): Buffer {
    this.#baseUs ??= ptsUs;
    return ptsUs < this.#baseUs ? Buffer.alloc(0) : ivfFrame(ptsUs - this.#baseUs, data);
  }

  /** Ends ffmpeg; what it still holds is given out first. Idempotent. */
  close(): Promise<void> {
    return this.#child.close();
  }

  #onOutput(index: number, frames: readonly EncodedFrame[]): void {
    for (const frame of frames) {
      this.events.emit('frame', { ...frame, ptsUs: frame.ptsUs + (this.#baseUs ?? 0), index });
    }
  }
}

function streamHeader(options: VideoTranscoderInput): Buffer {
  if ('codec' in options) {
    return ivfHeader(options.codec, options.width, options.height);
  }
  const { sps, pps } = options.parameterSets;
  const config = flvVideoBody({ packet: 'config', data: Buffer.from(buildAvcConfig(sps, pps)) });
  return Buffer.concat([flvFileHeader({ audio: false, video: true }), flvTag(FLV_TAG.video, 0, config)]);
}
