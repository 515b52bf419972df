import { SafeEmitter } from '../../base/events.ts';
import type { Logger } from '../../base/logger.ts';
import { parseSps, type SpsInfo } from '../../media/codecs/h264-sps.ts';
import type { IngressSettings } from '../../model/ingress.ts';
import type { EncodedPacket, VideoFormat } from '../../model/packet.ts';
import { parseFlvVideo } from '../../protocol/flv.ts';
import { AccessUnitAssembler, type AccessUnit } from './access-unit-assembler.ts';
import { MonotonicTime } from './encoder-clock.ts';
import { KeyframeInterval } from './keyframe-interval.ts';
import { PassthroughDecision, type VideoVerdict } from './passthrough-decision.ts';
import { VideoTranscoder } from './video-transcoder.ts';

export type VideoPipelineEvents = {
  /** Before the first packet: what is published. */
  format: VideoFormat;
  packet: EncodedPacket;
  /** How the stream is treated from now on. */
  verdict: Exclude<VideoVerdict, { mode: 'undecided' }>;
  /** Key frames are this far apart, which is too much; only of a stream that passes through. */
  slowKeyframes: { intervalS: number };
  failed: { error: Error };
};

export type VideoPipelineOptions = {
  settings: IngressSettings['video'];
  ffmpegPath: string;
  logger: Logger;
  /** The time to use for a frame, or undefined: it is left out. Default: all are taken as they are. */
  admit?: (dtsUs: number, key: boolean) => number | undefined;
};

type Frame = { dtsUs: number; ptsUs: number; unit: AccessUnit };

/** FLV video in, H.264 that a room understands out: untouched where possible, transcoded otherwise. */
export class VideoPipeline {
  readonly events: SafeEmitter<VideoPipelineEvents>;
  readonly #options: VideoPipelineOptions;
  readonly #assembler = new AccessUnitAssembler();
  readonly #decision: PassthroughDecision;
  readonly #time = new MonotonicTime();
  #sps: Uint8Array | undefined;
  #source: SpsInfo | undefined;
  /** Frames of a stream that is not decided yet. */
  #probed: Frame[] = [];
  #announced: VideoVerdict['mode'] | undefined;
  #transcoder: VideoTranscoder | undefined;
  #format: VideoFormat | undefined;
  readonly #keyframes = new KeyframeInterval((intervalS) => {
    this.events.emit('slowKeyframes', { intervalS });
  });
  #waitsForKey = false;
  #closed = false;

  constructor(options: VideoPipelineOptions) {
    this.#options = options;
    this.events = new SafeEmitter(options.logger);
    this.#decision = new PassthroughDecision(options.settings);
  }

  /** What the encoder sends; undefined before its first parameter set. */
  get source(): SpsInfo | undefined {
    return this.#source;
  }

  /**
   * @param dtsUs decoding time on the session clock.
   * @throws ServiceError malformed, unimplemented: the encoder's fault, the session cannot go on.
   */
  push(dtsUs: number, body: Buffer): void {
    const video = parseFlvVideo(body);
    if (video?.packet === 'config') {
      this.#assembler.configure(video.data);
      this.#onParameterSets();
    } else if (video?.packet === 'frame') {
      const unit = this.#assembler.assemble(video.data);
      this.#onParameterSets();
      if (unit !== undefined && this.#source !== undefined && this.#canGoOnWith(unit)) {
        const { admit } = this.#options;
        const timeUs = admit === undefined ? dtsUs : admit(dtsUs, unit.key);
        if (timeUs === undefined) {
          this.#keyframes.interrupted();
          return;
        }
        this.#onFrame({ dtsUs: timeUs, ptsUs: timeUs + video.compositionMs * 1000, unit });
      }
    }
  }

  /** Frames are missing: nothing is taken before the next key frame. */
  interrupted(): void {
    this.#probed = [];
    this.#waitsForKey = true;
    this.#keyframes.interrupted();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#probed = [];
    await this.#transcoder?.close();
  }

  #canGoOnWith(unit: AccessUnit): boolean {
    this.#waitsForKey &&= !unit.key;
    return !this.#waitsForKey;
  }

  #onParameterSets(): void {
    const { sps } = this.#assembler;
    if (sps === undefined || (this.#sps !== undefined && Buffer.compare(sps, this.#sps) === 0)) {
      return;
    }
    this.#sps = sps;
    this.#source = parseSps(sps);
    this.#decision.onSps(this.#source);
    this.#stopTranscoder();
  }

  #onFrame(frame: Frame): void {
    const verdict = this.#decision.onFrame({ ...frame, nals: frame.unit.nals });
    switch (verdict.mode) {
      case 'undecided':
        this.#probed.push(frame);
        return;
      case 'passthrough':
        this.#announce(verdict);
        this.#takeProbed().forEach((probed) => {
          this.#passThrough(probed);
        });
        this.#passThrough(frame);
        return;
      case 'transcode':
        this.#transcode(verdict, [...this.#takeProbed(), frame]);
    }
  }

  #takeProbed(): Frame[] {
    const probed = this.#probed;
    this.#probed = [];
    return probed;
  }

  #passThrough(frame: Frame): void {
    const { width = 0, height = 0 } = this.#source ?? {};
    this.#keyframes.onFrame(frame.ptsUs, frame.unit.key);
    this.#emit(frame.ptsUs, frame.unit, width, height);
  }

  /** A stream that passed so far goes on doing so until a key frame, where the transcoder can start. */
  #transcode(verdict: Extract<VideoVerdict, { mode: 'transcode' }>, frames: readonly Frame[]): void {
    for (const frame of frames) {
      if (this.#transcoder === undefined && frame.unit.key) {
        this.#announce(verdict);
        this.#transcoder = this.#startTranscoder();
      }
      if (this.#transcoder !== undefined) {
        this.#transcoder.write(frame);
      } else if (this.#announced === 'passthrough') {
        this.#passThrough(frame);
      }
    }
  }

  #startTranscoder(): VideoTranscoder {
    const { logger, ffmpegPath, settings } = this.#options;
    const transcoder = new VideoTranscoder({
      ffmpegPath,
      logger,
      target: settings.target,
      parameterSets: this.#assembler.parameterSets,
    });
    transcoder.events.on('frame', ({ ptsUs, unit, sps }) => {
      const { width, height } = this.#format ?? parseSps(sps);
      this.#emit(ptsUs, unit, width, height);
    });
    transcoder.events.on('closed', ({ error }) => {
      if (error !== undefined && transcoder === this.#transcoder && !this.#closed) {
        this.events.emit('failed', { error });
      }
    });
    return transcoder;
  }

  /** The picture changed its shape: the next key frame gets a transcoder of its own. */
  #stopTranscoder(): void {
    const transcoder = this.#transcoder;
    this.#transcoder = undefined;
    transcoder?.close().catch((error: unknown) => {
      this.#options.logger.warn({ err: error }, 'video transcoder did not close');
    });
  }

  #announce(verdict: Exclude<VideoVerdict, { mode: 'undecided' }>): void {
    if (this.#announced !== verdict.mode) {
      this.#announced = verdict.mode;
      this.events.emit('verdict', verdict);
    }
  }

  #emit(ptsUs: number, unit: AccessUnit, width: number, height: number): void {
    if (this.#format === undefined) {
      if (!unit.key) {
        return; // nothing can be decoded before the first key frame
      }
      this.#format = { kind: 'video', codec: 'h264', width, height };
      this.events.emit('format', this.#format);
    }
    const timeUs = this.#time.next(ptsUs);
    this.events.emit('packet', {
      kind: 'video',
      ptsUs: timeUs,
      dtsUs: timeUs,
      durationUs: 0,
      key: unit.key,
      data: unit.data,
    });
  }
}
