import { ServiceError } from '../../base/errors.ts';
import { SafeEmitter } from '../../base/events.ts';
import type { Logger } from '../../base/logger.ts';
import type { IngressSettings, TargetLayer } from '../../model/ingress.ts';
import type { EncodedPacket, VideoCodec, VideoFormat } from '../../model/packet.ts';
import { clampLayer } from '../../model/track.ts';
import type { FlvVideo } from '../../protocol/flv.ts';
import { KeyframeInterval } from './keyframe-interval.ts';
import {
  describeVerdict,
  PassthroughDecision,
  type PublishedVerdict,
  type VideoVerdict,
} from './passthrough-decision.ts';
import type { SideTracks } from './side-tracks.ts';
import { fitLayerCount, fitLayers } from './simulcast-layers.ts';
import {
  createVideoBitstream,
  type SourceFrame,
  type StreamHeader,
  type VideoBitstream,
} from './video-bitstream.ts';
import { VideoOutput } from './video-output.ts';
import { VideoTranscoder, type VideoTranscoderInput } from './video-transcoder.ts';
import { WatchedTranscoder } from './watched-transcoder.ts';

export type VideoPipelineEvents = {
  /** Before the first packet, and when another codec takes its place: what is published. */
  format: VideoFormat;
  packet: EncodedPacket;
  /** How the stream is treated from now on. */
  verdict: PublishedVerdict;
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
  /** Further tracks of the same picture. */
  sideTracks?: SideTracks;
};

/** Video of any codec in, what a room understands out: untouched where possible, transcoded otherwise. */
export class VideoPipeline {
  readonly events: SafeEmitter<VideoPipelineEvents>;
  readonly #options: VideoPipelineOptions;
  #bitstream: VideoBitstream = createVideoBitstream('h264');
  #decision: PassthroughDecision;
  /** The decision knows it. */
  #header: StreamHeader | undefined;
  /** The running transcoder was started with it. */
  #transcodedHeader: StreamHeader | undefined;
  /** Frames of a stream that is not decided yet. */
  #probed: SourceFrame[] = [];
  #mode: 'passthrough' | 'transcode' | undefined;
  #announced = '';
  /** All layers of a stream that cannot pass, the lower ones of one that does. */
  #transcoder: VideoTranscoder | WatchedTranscoder | undefined;
  /** Was replaced by another of its kind: what it still holds belongs to the same layers. */
  #draining: VideoTranscoder | WatchedTranscoder | undefined;
  readonly #output: VideoOutput;
  readonly #keyframes = new KeyframeInterval((intervalS) => {
    this.events.emit('slowKeyframes', { intervalS });
  });
  #waitsForKey = false;
  #isWatched = true;
  #closed = false;

  constructor(options: VideoPipelineOptions) {
    this.#options = options;
    this.events = new SafeEmitter(options.logger);
    this.#decision = new PassthroughDecision(options.settings, 'h264');
    this.#output = new VideoOutput({
      onFormat: (format) => this.events.emit('format', format),
      onPacket: (packet) => this.events.emit('packet', packet),
    });
    options.sideTracks?.events.on('packet', ({ layer, frame }) => {
      this.#output.write(layer, frame);
    });
  }

  /** As the encoder sends it; h264 until it says otherwise. */
  get codec(): VideoCodec {
    return this.#bitstream.codec;
  }

  /** What the encoder sends; undefined before its first header. */
  get source(): StreamHeader | undefined {
    return this.#bitstream.header;
  }

  /**
   * @param dtsUs decoding time on the session clock.
   * @throws ServiceError malformed, unimplemented, failed_precondition: the encoder's fault, the session cannot go on.
   */
  push(dtsUs: number, codec: VideoCodec, video: FlvVideo): void {
    if (codec !== this.#bitstream.codec) {
      this.#changeCodec(codec);
    }
    if (video.packet === 'config' && video.data.length > 0) {
      this.#bitstream.configure(video.data);
      this.#readHeader();
    } else if (video.packet === 'frame' && video.data.length > 0) {
      const picture = this.#bitstream.complete(video.data, video.key);
      this.#readHeader();
      if (picture === undefined || this.#header === undefined || !this.#canGoOnWith(picture.key)) {
        return;
      }
      const { admit, sideTracks } = this.#options;
      const timeUs = admit === undefined ? dtsUs : admit(dtsUs, picture.key);
      if (timeUs === undefined) {
        this.#keyframes.interrupted();
        sideTracks?.interrupted();
        return;
      }
      this.#onFrame({ ...picture, dtsUs: timeUs, ptsUs: timeUs + video.compositionMs * 1000 }, this.#header);
    }
  }

  /** Frames are missing: nothing is taken before the next key frame. */
  interrupted(): void {
    this.#probed = [];
    this.#waitsForKey = true;
    this.#keyframes.interrupted();
    this.#options.sideTracks?.interrupted();
  }

  /** Whether anybody is to get the picture: if not, no layers are encoded below one that passes. */
  setWatched(isWatched: boolean): void {
    this.#isWatched = isWatched;
    if (this.#transcoder instanceof WatchedTranscoder) {
      this.#transcoder.setWatched(isWatched);
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#probed = [];
    await this.#transcoder?.close();
  }

  #canGoOnWith(key: boolean): boolean {
    this.#waitsForKey &&= !key;
    return !this.#waitsForKey;
  }

  /** The participant stays; the room gets another track where its codec is another one. */
  #changeCodec(codec: VideoCodec): void {
    const isFirst = this.#header === undefined;
    this.#bitstream = createVideoBitstream(codec);
    this.#decision = new PassthroughDecision(this.#options.settings, codec);
    this.#header = undefined;
    this.interrupted();
    if (!isFirst) {
      this.#options.logger.info({ codec }, 'ingress video codec changed');
    }
  }

  #readHeader(): void {
    const { header } = this.#bitstream;
    if (header !== undefined && header !== this.#header) {
      this.#header = header;
      this.#decision.onHeader(header);
    }
  }

  #onFrame(frame: SourceFrame, header: StreamHeader): void {
    const verdict = this.#decision.onFrame(frame);
    if (verdict.mode === 'undecided') {
      this.#probed.push(frame);
      return;
    }
    const frames = [...this.#probed, frame];
    this.#probed = [];
    for (const next of frames) {
      if (verdict.mode === 'passthrough') {
        this.#passThrough(next, header);
      } else {
        this.#transcode(verdict, next, header);
      }
    }
  }

  #passThrough(frame: SourceFrame, header: StreamHeader): void {
    this.#keyframes.onFrame(frame.ptsUs, frame.key);
    if (frame.key && (this.#mode !== 'passthrough' || this.#transcodedHeader !== header)) {
      this.#beginPassthrough(header);
    }
    this.#output.write(this.#output.topLayer, frame);
    this.#transcoder?.write(frame);
  }

  /** At a key frame of a stream that passes from now on, or whose picture has another shape. */
  #beginPassthrough(header: StreamHeader): void {
    const { settings, sideTracks } = this.#options;
    const { codec } = this.#bitstream;
    const { width, height } = header;
    const isNew = this.#output.codec !== codec;
    this.#stopTranscoder(!isNew && this.#mode === 'passthrough');
    this.#mode = 'passthrough';
    this.#transcodedHeader = header;
    const lower = isNew ? (sideTracks?.choose(codec, header) ?? []) : [];
    const encoded =
      lower.length > 0 || sideTracks?.areChosen === true ? [] : this.#lowerLayers(header, isNew);
    if (isNew) {
      this.#output.publish(codec, [...lower, ...encoded, { width, height }]);
    }
    if (encoded.length > 0) {
      this.#startTranscoder({ ...settings.target, codec: settings.codec, layers: encoded });
    }
    const lowerFrom = sideTracks?.areChosen === true ? 'tracks' : encoded.length > 0 ? 'encoded' : undefined;
    this.#announce({ mode: 'passthrough', ...(lowerFrom === undefined ? {} : { lower: lowerFrom }) });
  }

  /** What is encoded below a picture that passes: nothing unless layers were asked for, or the track has them. */
  #lowerLayers(header: StreamHeader, isNew: boolean): TargetLayer[] {
    const { layers, targetIsLimit } = this.#options.settings;
    const fitted = isNew
      ? targetIsLimit
        ? fitLayers(layers, header)
        : []
      : fitLayerCount(layers, header, this.#output.layerCount);
    return fitted.slice(0, -1);
  }

  /** A stream that passed so far goes on doing so until a key frame, where the transcoder can start. */
  #transcode(
    verdict: Extract<VideoVerdict, { mode: 'transcode' }>,
    frame: SourceFrame,
    header: StreamHeader,
  ): void {
    if (!this.#options.settings.mayTranscode) {
      throw new ServiceError(
        'failed_precondition',
        `video cannot pass through (${verdict.reason}) and enable_transcoding is false: change the encoder or the ingress`,
      );
    }
    if (frame.key && (this.#mode !== 'transcode' || this.#transcodedHeader !== header)) {
      this.#beginTranscoding(header);
      this.#announce(verdict);
    }
    if (this.#mode === 'transcode') {
      this.#transcoder?.write(frame);
    } else if (this.#mode === 'passthrough') {
      this.#output.write(this.#output.topLayer, frame);
      this.#transcoder?.write(frame);
    }
  }

  #beginTranscoding(header: StreamHeader): void {
    const { settings, sideTracks } = this.#options;
    sideTracks?.release();
    const isNew = this.#output.codec !== settings.codec;
    this.#stopTranscoder(!isNew);
    this.#mode = 'transcode';
    this.#transcodedHeader = header;
    const layers = isNew
      ? fitLayers(settings.layers, header)
      : fitLayerCount(settings.layers, header, this.#output.layerCount);
    if (isNew) {
      this.#output.publish(settings.codec, layers);
    }
    this.#startTranscoder({ ...settings.target, codec: settings.codec, layers });
  }

  #startTranscoder(target: ConstructorParameters<typeof VideoTranscoder>[0]['target']): void {
    const { logger, ffmpegPath } = this.#options;
    const options = { ffmpegPath, logger, target, ...this.#transcoderInput() };
    const transcoder =
      this.#mode === 'passthrough'
        ? new WatchedTranscoder(options, this.#isWatched)
        : new VideoTranscoder(options);
    this.#transcoder = transcoder;
    transcoder.events.on('frame', (frame) => {
      if (transcoder === this.#transcoder || transcoder === this.#draining) {
        this.#output.write(clampLayer(frame.index), frame);
      }
    });
    transcoder.events.on('closed', ({ error }) => {
      if (error !== undefined && transcoder === this.#transcoder && !this.#closed) {
        this.events.emit('failed', { error });
      }
    });
  }

  #transcoderInput(): VideoTranscoderInput {
    const { codec, parameterSets } = this.#bitstream;
    const { width = 0, height = 0 } = this.#header ?? {};
    return codec === 'h264'
      ? { parameterSets: parameterSets ?? { sps: [], pps: [] } }
      : { codec, width, height };
  }

  #stopTranscoder(drains: boolean): void {
    const transcoder = this.#transcoder;
    this.#transcoder = undefined;
    this.#draining = drains ? transcoder : undefined;
    transcoder?.close().catch((error: unknown) => {
      this.#options.logger.warn({ err: error }, 'video transcoder did not close');
    });
  }

  #announce(verdict: PublishedVerdict): void {
    const text = describeVerdict(verdict);
    if (this.#announced !== text) {
      this.#announced = text;
      this.events.emit('verdict', verdict);
    }
  }
}
