import { ServiceError } from '../../base/errors.ts';
import { SafeEmitter } from '../../base/events.ts';
import type { Logger } from '../../base/logger.ts';
import { buildAvcConfig } from '../../media/codecs/h264-avcc.ts';
import { joinLengthPrefixed } from '../../media/codecs/h264.ts';
import { ivfFrame, ivfHeader } from '../../media/ffmpeg/ivf.ts';
import { exitError, spawnFfmpeg, type FfmpegProcess } from '../../media/ffmpeg/run.ts';
import type { VideoCodec } from '../../model/packet.ts';
import { FLV_TAG, flvFileHeader, flvTag, flvVideoBody } from '../../protocol/flv.ts';
import { createEncodedOutput, type EncodedFrame } from './encoded-output.ts';
import { videoTranscodeArgs, type TranscodeTarget } from './video-transcoder-args.ts';
import type { SourceFrame } from './video-bitstream.ts';

export type VideoTranscoderOptions = {
  ffmpegPath: string;
  target: TranscodeTarget;
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
const CLOSE_TIMEOUT_MS = 3_000;

/**
 * Turns any video into constrained-to-baseline H.264 or VP8 without reordering, in one or more sizes, through one
 * ffmpeg child, about a frame behind its input. When ffmpeg cannot keep up, frames are left out up to the next key
 * frame: the delay is bounded.
 */
export class VideoTranscoder {
  readonly events: SafeEmitter<VideoTranscoderEvents>;
  readonly #process: FfmpegProcess;
  readonly #done: Promise<void>;
  readonly #container: 'flv' | 'ivf';
  #baseUs: number | undefined;
  #waitsForKey = true;
  #closing = false;
  #failure: Error | undefined;
  #droppedFrames = 0;

  constructor(options: VideoTranscoderOptions) {
    const { ffmpegPath, target, logger } = options;
    this.events = new SafeEmitter(logger);
    this.#container = 'codec' in options ? 'ivf' : 'flv';
    this.#process = spawnFfmpeg({
      ffmpegPath,
      args: videoTranscodeArgs(target, 'codec' in options ? options.codec : 'h264'),
      extraOutputs: target.layers.length - 1,
      logger,
    });
    this.#process.stdin.write(streamHeader(options));
    for (const [index, stream] of this.#process.outputs.entries()) {
      const read = createEncodedOutput(target.codec);
      stream.on('data', (bytes: Buffer) => {
        this.#onOutput(index, () => read(bytes));
      });
    }
    this.#done = this.#process.exited.then((exit) => {
      const error = this.#failure ?? exitError(exit, 'video transcoding');
      const early = new ServiceError('internal', 'video transcoding: ffmpeg ended before its input did');
      const unexpected = error ?? (this.#closing || exit.killed ? undefined : early);
      this.events.emit('closed', unexpected === undefined ? {} : { error: unexpected });
    });
  }

  get droppedFrames(): number {
    return this.#droppedFrames;
  }

  /** One access unit in decoding order; starts with a key frame. Never blocks. */
  write(frame: SourceFrame): void {
    const { stdin } = this.#process;
    if (this.#closing || stdin.destroyed) {
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
  async close(): Promise<void> {
    if (!this.#closing) {
      this.#closing = true;
      this.#process.stdin.end();
      const timer = setTimeout(() => void this.#process.kill(0), CLOSE_TIMEOUT_MS);
      await this.#done;
      clearTimeout(timer);
    }
    return this.#done;
  }

  #onOutput(index: number, read: () => EncodedFrame[]): void {
    if (this.#failure !== undefined) {
      return;
    }
    try {
      for (const frame of read()) {
        this.events.emit('frame', { ...frame, ptsUs: frame.ptsUs + (this.#baseUs ?? 0), index });
      }
    } catch (error) {
      this.#failure = ServiceError.from(error);
      void this.#process.kill();
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
