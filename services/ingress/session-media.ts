import { monotonicUs } from '../base/clock.ts';
import { SafeEmitter } from '../base/events.ts';
import type { Logger } from '../base/logger.ts';
import type { IngressSettings } from '../model/ingress.ts';
import type { EncodedPacket, TrackFormat } from '../model/packet.ts';
import { AudioInput } from './publish/audio-input.ts';
import { EncoderClock } from './publish/encoder-clock.ts';
import { LipSyncGate } from './publish/lip-sync-gate.ts';
import { LiveEdge } from './publish/live-edge.ts';
import { RateMeter } from './publish/rate-meter.ts';
import { VideoInput } from './publish/video-input.ts';
import type { VideoPipelineEvents } from './publish/video-pipeline.ts';
import type { SourceDescription } from './servers/publisher-types.ts';
import type { AudioReport, VideoReport } from './state-reporter.ts';

export type SessionMediaEvents = {
  /** Before the first packet of a track. */
  format: TrackFormat;
  /** Ready for the room: picture and sound of one moment come together. */
  packet: EncodedPacket;
  /** A track cannot go on. */
  failed: { error: Error };
} & Pick<VideoPipelineEvents, 'verdict' | 'slowKeyframes'>;

export type SessionMediaOptions = {
  settings: IngressSettings;
  ffmpegPath: string;
  /** Media this late is skipped up to the next key frame. */
  maxLatencyMs: number;
  logger: Logger;
};

/** An encoder's FLV messages in, packets for a room out: on one session clock and never far behind real time. */
export class SessionMedia {
  readonly events: SafeEmitter<SessionMediaEvents>;
  readonly #video: VideoInput;
  readonly #audio: AudioInput;
  readonly #clock = new EncoderClock();
  readonly #edge: LiveEdge;
  readonly #gate = new LipSyncGate((packet) => {
    this.events.emit('packet', packet);
  });
  readonly #videoMeter: RateMeter;
  readonly #audioMeter: RateMeter;
  #arrivalUs = monotonicUs();
  #described: SourceDescription | undefined;

  constructor(options: SessionMediaOptions) {
    const { settings, ffmpegPath, maxLatencyMs, logger } = options;
    this.events = new SafeEmitter(logger);
    this.#videoMeter = new RateMeter(this.#arrivalUs);
    this.#audioMeter = new RateMeter(this.#arrivalUs);
    this.#edge = new LiveEdge({
      maxLatencyMs,
      onShift: (shiftUs) => {
        this.#clock.shift(shiftUs);
      },
      onSkip: (skipping, latencyMs) => {
        logger.warn(
          { latencyMs },
          skipping ? 'ingress is behind, media is skipped' : 'ingress is live again',
        );
      },
    });
    this.#video = new VideoInput({
      ...{ settings: settings.video, ffmpegPath, logger },
      admit: (dtsUs, key) => this.#edge.video(dtsUs, this.#arrivalUs, key),
    });
    this.#audio = new AudioInput({ settings: settings.audio, ffmpegPath, logger });
    this.#forward();
  }

  /** When an encoder sent something last, or took over. */
  get lastArrivalUs(): number {
    return this.#arrivalUs;
  }

  /** What there was before a reader encoded it anew. */
  source(description: SourceDescription): void {
    this.#described = description;
  }

  /** Parameters as in MediaSink. @throws ServiceError: the encoder's fault, it cannot go on. */
  audio(timestampMs: number, body: Buffer, arrivalUs?: number): void {
    const nowUs = arrivalUs ?? monotonicUs();
    this.#arrivalUs = nowUs;
    this.#audioMeter.add(body.length);
    const timeUs = this.#edge.audio(this.#clock.toSessionUs('audio', timestampMs, nowUs), nowUs);
    if (timeUs !== undefined) {
      this.#audio.push(timeUs, body);
    }
  }

  /** As audio(). */
  video(timestampMs: number, body: Buffer, arrivalUs?: number): void {
    const nowUs = arrivalUs ?? monotonicUs();
    this.#arrivalUs = nowUs;
    this.#videoMeter.add(body.length);
    this.#video.push(this.#clock.toSessionUs('video', timestampMs, nowUs), body);
  }

  /** As video(), of a stand-in for the encoder: what is told about the encoder stays as it was. */
  slate(timestampMs: number, body: Buffer): void {
    this.#arrivalUs = monotonicUs();
    this.#video.push(this.#clock.toSessionUs('video', timestampMs, this.#arrivalUs), body);
  }

  /** Of the encoder's H.264; undefined when it sends none. */
  get h264Size(): { width: number; height: number } | undefined {
    const { codec, source } = this.#video;
    return codec === 'h264' ? source : undefined;
  }

  /** Another encoder, or the same again: it gets its time to send something. */
  resumed(): void {
    this.#arrivalUs = monotonicUs();
  }

  /** What comes next does not continue what came last. @param overlapping it may have come before the end of that. */
  interrupted({ overlapping = false } = {}): void {
    this.#clock.restart({ overlapping });
    this.#edge.restart();
    this.#video.interrupted();
    this.#audio.interrupted();
  }

  /** Whether anybody is to get the picture: layers nobody would see are not encoded. */
  setWatched(isWatched: boolean): void {
    this.#video.setWatched(isWatched);
  }

  /** How much later than the session clock says the encoder's picture came last. */
  get latencyMs(): number {
    return this.#edge.latencyMs;
  }

  /** What the encoder sends, with its rates since the last call; undefined: nothing of that kind yet. */
  describe(): { video: VideoReport | undefined; audio: AudioReport | undefined } {
    const nowUs = monotonicUs();
    const videoRate = this.#videoMeter.read(nowUs);
    const audioRate = this.#audioMeter.read(nowUs);
    const described = this.#described;
    const video = this.#video.source && { ...this.#video.source, ...described?.video };
    const audio = this.#audio.source && { ...this.#audio.source, ...described?.audio };
    return {
      video: video && {
        mimeType: `video/${described?.video?.codec ?? this.#video.codec}`,
        width: video.width,
        height: video.height,
        framerate: video.framerate ?? videoRate.packetsPerS,
        bitsPerS: videoRate.bitsPerS,
      },
      audio: audio && {
        mimeType: `audio/${described?.audio?.codec ?? this.#audio.codec}`,
        channels: audio.channels,
        sampleRateHz: audio.outputSampleRateHz,
        bitsPerS: audioRate.bitsPerS,
      },
    };
  }

  /** Ends what transcodes and drops what is held. Never rejects. */
  async close(): Promise<void> {
    await Promise.allSettled([this.#video.close(), this.#audio.close()]);
    this.#gate.close();
  }

  #forward(): void {
    const announce = (format: TrackFormat): void => {
      this.events.emit('format', format);
    };
    const write = (packet: EncodedPacket): void => {
      this.#gate.write(packet);
    };
    const fail = (failure: { error: Error }): void => {
      this.events.emit('failed', failure);
    };
    this.#video.events.on('format', announce);
    this.#video.events.on('packet', write);
    this.#video.events.on('failed', fail);
    this.#audio.events.on('format', announce);
    this.#audio.events.on('packet', write);
    this.#audio.events.on('failed', fail);
    this.#video.events.on('verdict', (verdict) => {
      const upstream = this.#described?.video?.transcoded ?? '';
      const isWhole = verdict.mode === 'transcode' || upstream === '';
      this.events.emit('verdict', isWhole ? verdict : { mode: 'transcode', reason: upstream });
    });
    this.#video.events.on('slowKeyframes', (keyframes) => {
      this.events.emit('slowKeyframes', keyframes);
    });
  }
}
