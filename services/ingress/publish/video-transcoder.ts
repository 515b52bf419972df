import { ServiceError } from '../../base/errors.ts';
import { SafeEmitter } from '../../base/events.ts';
import type { Logger } from '../../base/logger.ts';
import { buildAvcConfig } from '../../media/codecs/h264-avcc.ts';
import { joinLengthPrefixed } from '../../media/codecs/h264.ts';
import { exitError, spawnFfmpeg, type FfmpegProcess } from '../../media/ffmpeg/run.ts';
import type { VideoTarget } from '../../model/ingress.ts';
import {
  FLV_TAG,
  flvFileHeader,
  FlvReader,
  flvTag,
  flvVideoBody,
  parseFlvVideo,
} from '../../protocol/flv.ts';
import { AccessUnitAssembler, type AccessUnit } from './access-unit-assembler.ts';
import { videoTranscodeArgs } from './video-transcoder-args.ts';

export type VideoTranscoderOptions = {
  ffmpegPath: string;
  target: VideoTarget;
  parameterSets: { sps: Uint8Array[]; pps: Uint8Array[] };
  logger: Logger;
};

export type VideoTranscoderEvents = {
  frame: { ptsUs: number; unit: AccessUnit; sps: Uint8Array };
  /** Last event; `error` when ffmpeg ended by itself. */
  closed: { error?: Error };
};

const MAX_BACKLOG_BYTES = 8_000_000;
const CLOSE_TIMEOUT_MS = 3_000;

/**
 * Turns any H.264 into constrained-to-baseline H.264 without reordering, through one ffmpeg child, about a frame
 * behind its input. When ffmpeg cannot keep up, frames are left out up to the next key frame: the delay is bounded.
 */
export class VideoTranscoder {
  readonly events: SafeEmitter<VideoTranscoderEvents>;
  readonly #process: FfmpegProcess;
  readonly #reader = new FlvReader();
  readonly #assembler = new AccessUnitAssembler();
  readonly #done: Promise<void>;
  #baseUs: number | undefined;
  #waitsForKey = true;
  #closing = false;
  #failure: Error | undefined;
  #droppedFrames = 0;

  constructor(options: VideoTranscoderOptions) {
    this.events = new SafeEmitter(options.logger);
    this.#process = spawnFfmpeg({
      ffmpegPath: options.ffmpegPath,
      args: videoTranscodeArgs(options.target),
      logger: options.logger,
    });
    const { sps, pps } = options.parameterSets;
    const config = flvVideoBody({ packet: 'config', data: Buffer.from(buildAvcConfig(sps, pps)) });
    this.#process.stdin.write(flvFileHeader({ audio: false, video: true }));
    this.#process.stdin.write(flvTag(FLV_TAG.video, 0, config));
    this.#process.stdout.on('data', (bytes: Buffer) => {
      this.#onOutput(bytes);
    });
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
  write(frame: { dtsUs: number; ptsUs: number; unit: AccessUnit }): void {
    const { stdin } = this.#process;
    if (this.#closing || stdin.destroyed) {
      return;
    }
    const behind = stdin.writableLength > MAX_BACKLOG_BYTES;
    this.#waitsForKey = behind || (this.#waitsForKey && !frame.unit.key);
    if (this.#waitsForKey) {
      this.#droppedFrames++;
      return;
    }
    this.#baseUs ??= frame.dtsUs;
    const dtsMs = Math.round((frame.dtsUs - this.#baseUs) / 1000);
    stdin.write(
      flvTag(
        FLV_TAG.video,
        dtsMs,
        flvVideoBody({
          packet: 'frame',
          key: frame.unit.key,
          compositionMs: Math.round((frame.ptsUs - frame.dtsUs) / 1000),
          data: joinLengthPrefixed(frame.unit.nals),
        }),
      ),
    );
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

  #onOutput(bytes: Buffer): void {
    if (this.#failure !== undefined) {
      return;
    }
    try {
      for (const tag of this.#reader.push(bytes)) {
        const video = tag.typeId === FLV_TAG.video ? parseFlvVideo(tag.body) : undefined;
        if (video?.packet === 'config') {
          this.#assembler.configure(video.data);
        } else if (video?.packet === 'frame') {
          this.#emit(tag.timestampMs + video.compositionMs, video.data);
        }
      }
    } catch (error) {
      this.#failure = ServiceError.from(error);
      void this.#process.kill();
    }
  }

  #emit(ptsMs: number, data: Buffer): void {
    const unit = this.#assembler.assemble(data);
    const { sps } = this.#assembler;
    if (unit !== undefined && sps !== undefined) {
      this.events.emit('frame', { ptsUs: ptsMs * 1000 + (this.#baseUs ?? 0), unit, sps });
    }
  }
}
