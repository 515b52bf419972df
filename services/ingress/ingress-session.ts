import type { IngressInfo, IngressState } from '@livekit/protocol';
import { monotonicUs } from '../base/clock.ts';
import { messageOf, ServiceError } from '../base/errors.ts';
import { newId } from '../base/ids.ts';
import type { Logger } from '../base/logger.ts';
import type { Bus, Unregister } from '../bus/bus.ts';
import { IngressHandler } from '../bus/rpc-methods.ts';
import type { EncodedPacket, TrackFormat } from '../model/packet.ts';
import type { AmfObject } from '../protocol/amf0.ts';
import type { ConnectRoom } from '../rtc-client/room-client-types.ts';
import { ingressSettings } from './ingress-settings.ts';
import { AudioInput } from './publish/audio-input.ts';
import { EncoderClock } from './publish/encoder-clock.ts';
import { LiveEdge } from './publish/live-edge.ts';
import { LipSyncGate } from './publish/lip-sync-gate.ts';
import { RateMeter } from './publish/rate-meter.ts';
import { VideoInput } from './publish/video-input.ts';
import { RoomPublisher, type RoomAccess } from './room-publisher.ts';
import type { EncoderConnection, MediaSink } from './servers/publisher-types.ts';
import { RTMP_SESSION_POLICY, SILENT_AFTER_MS, type RtmpSessionPolicy } from './rtmp-session-policy.ts';
import type { RunningSession } from './session-registry.ts';
import { StateReporter } from './state-reporter.ts';

export type IngressSessionOptions = {
  bus: Bus;
  logger: Logger;
  info: IngressInfo;
  room: RoomAccess;
  ffmpegPath: string;
  connectRoom: ConnectRoom;
  encoder: EncoderConnection;
  policy?: RtmpSessionPolicy;
  /** True once nobody can connect again. */
  isDraining?: () => boolean;
  /** RTMP endpoints wait for the next encoder; a URL is played once. */
  kind: 'rtmp' | 'url';
};

const RESOURCE_PREFIX = { rtmp: 'RT_', url: 'UR_' } as const;
const STATUS_AT_END = { rtmp: 'inactive', url: 'complete' } as const;

const REPORT_INTERVAL_MS = 5_000;
/** After the first media: until then a rate says nothing. */
const FIRST_REPORT_MS = 1_000;

/** One encoder that publishes to one endpoint, from the accepted key to the participant's leaving. */
export class IngressSession implements MediaSink, RunningSession {
  /** Resolves when everything is closed and the last state is reported; never rejects. */
  readonly ended: Promise<void>;
  readonly #options: IngressSessionOptions;
  readonly #logger: Logger;
  readonly #state: StateReporter;
  readonly #room: RoomPublisher;
  readonly #video: VideoInput;
  readonly #audio: AudioInput;
  readonly #clock = new EncoderClock();
  readonly #edge: LiveEdge;
  readonly #gate = new LipSyncGate((packet) => {
    this.#room.write(packet);
  });
  readonly #videoMeter = new RateMeter(monotonicUs());
  readonly #audioMeter = new RateMeter(monotonicUs());
  #handlers: Unregister[] = [];
  #reportTimer: NodeJS.Timeout | undefined;
  readonly #policy: RtmpSessionPolicy;
  #encoder: EncoderConnection | undefined;
  /** Runs while the encoder is away. */
  #windowTimer: NodeJS.Timeout | undefined;
  #lastMediaUs = monotonicUs();
  /** Media has not come back yet. */
  #isInterrupted = false;
  #slowKeyframesLogged = false;
  #stopping = false;
  #resolveEnded: () => void = () => undefined;

  /** @throws ServiceError failed_precondition when the endpoint's settings cannot be published. */
  constructor(options: IngressSessionOptions) {
    this.#options = options;
    this.#encoder = options.encoder;
    this.#policy = options.policy ?? RTMP_SESSION_POLICY;
    const { info, ffmpegPath } = options;
    const settings = ingressSettings(info);
    const resourceId = newId(RESOURCE_PREFIX[options.kind]);
    this.#logger = options.logger.child({ ingressId: info.ingressId, resourceId, room: info.roomName });
    const logger = this.#logger;
    this.ended = new Promise((resolve) => {
      this.#resolveEnded = resolve;
    });
    this.#state = new StateReporter(options.bus, info, resourceId, logger, () => {
      void this.stop('ingress deleted');
    });
    this.#edge = new LiveEdge({
      // Only an encoder is live: a URL is read at its own pace.
      maxLatencyMs: options.kind === 'rtmp' ? this.#policy.maxLatencyMs : Number.POSITIVE_INFINITY,
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
      admit: (dtsUs, key) => this.#edge.video(dtsUs, monotonicUs(), key),
    });
    this.#audio = new AudioInput({ settings: settings.audio, ffmpegPath, logger });
    this.#room = new RoomPublisher({
      room: options.room,
      settings,
      resourceId,
      connectRoom: options.connectRoom,
      logger,
    });
    this.#wire();
  }

  /** TCP connections and programs say when they are gone. */
  readonly isSilent = false;

  /** Whether the next encoder with the same key takes over, with the participant and its tracks as they are. */
  get takesOver(): boolean {
    const isGone = this.#encoder === undefined || this.#isQuiet;
    return !this.#stopping && (isGone || this.#policy.duplicateKey === 'replace');
  }

  get #isQuiet(): boolean {
    const mayReturn = this.#policy.reconnectWindowMs > 0;
    return mayReturn && monotonicUs() - this.#lastMediaUs > SILENT_AFTER_MS * 1000;
  }

  /** True from the first cause on, while the participant leaves. */
  get isEnding(): boolean {
    return this.#stopping;
  }

  /** As reported last. */
  get state(): IngressState {
    return this.#state.snapshot();
  }

  /** Reports BUFFERING and answers the API from now on. @throws ServiceError when the bus is down. */
  async start(): Promise<void> {
    const { bus, info } = this.#options;
    const topic = info.ingressId;
    this.#state.setStatus('buffering');
    this.#handlers = await Promise.all([
      bus.serve(IngressHandler.updateIngress, () => this.stop('ingress updated'), { topic }),
      bus.serve(IngressHandler.deleteIngress, () => this.stop('ingress deleted'), { topic }),
    ]);
    await this.#state.report();
    this.#room.join();
    this.#reportTimer = setTimeout(() => {
      this.#reportPeriodically();
    }, FIRST_REPORT_MS);
    this.#logger.info('ingress session started');
  }

  /** The media of the present encoder; ignored as soon as another one has taken over. */
  sink(): MediaSink {
    const encoder = this.#encoder;
    const guard = (work: () => void): void => {
      if (encoder !== undefined && encoder === this.#encoder) {
        work();
      }
    };
    return {
      metadata: (values) => guard(() => this.metadata(values)),
      audio: (timestampMs, body) => guard(() => this.audio(timestampMs, body)),
      video: (timestampMs, body) => guard(() => this.video(timestampMs, body)),
      lost: (cause) => guard(() => this.lost(cause)),
      end: (cause, failure) => guard(() => this.end(cause, failure)),
    };
  }

  /** An encoder takes the place of the one before; time goes on. */
  resume(encoder: EncoderConnection): MediaSink {
    const previous = this.#encoder;
    clearTimeout(this.#windowTimer);
    this.#encoder = encoder;
    this.#lastMediaUs = monotonicUs();
    if (previous !== undefined) {
      this.#interrupt();
      previous.drop('another encoder took over this stream key');
    }
    this.#logger.info({ replaced: previous !== undefined }, 'ingress encoder connected again');
    return this.sink();
  }

  metadata(values: AmfObject): void {
    const encoder = values.get('encoder');
    this.#logger.info(
      { encoder: typeof encoder === 'string' ? encoder.slice(0, 100) : '' },
      'encoder metadata',
    );
  }

  audio(timestampMs: number, body: Buffer): void {
    this.#audioMeter.add(body.length);
    this.#lastMediaUs = monotonicUs();
    this.#take(() => {
      const nowUs = monotonicUs();
      const timeUs = this.#edge.audio(this.#clock.toSessionUs('audio', timestampMs, nowUs), nowUs);
      if (timeUs !== undefined) {
        this.#audio.push(timeUs, body);
      }
    });
  }

  video(timestampMs: number, body: Buffer): void {
    this.#videoMeter.add(body.length);
    this.#lastMediaUs = monotonicUs();
    this.#take(() => {
      this.#video.push(this.#clock.toSessionUs('video', timestampMs, monotonicUs()), body);
    });
  }

  lost(cause: string): void {
    const { reconnectWindowMs } = this.#policy;
    if (reconnectWindowMs === 0 || this.#options.kind === 'url' || this.#options.isDraining?.() === true) {
      this.end(cause);
      return;
    }
    if (this.#stopping) {
      return;
    }
    this.#encoder = undefined;
    this.#interrupt();
    this.#state.setStatus('buffering');
    this.#report();
    this.#logger.info({ cause, reconnectWindowMs }, 'ingress encoder lost, waiting for it');
    this.#windowTimer = setTimeout(() => {
      this.end(cause);
    }, reconnectWindowMs);
  }

  end(cause: string, failure?: Error): void {
    void this.#finish(cause, failure);
  }

  /** Drops the encoder; resolves to the final state. */
  async stop(cause: string): Promise<IngressState> {
    await this.#finish(cause);
    return this.#state.snapshot();
  }

  #wire(): void {
    const fail = ({ error }: { error: Error }): void => {
      void this.#finish(messageOf(error), error);
    };
    this.#video.events.on('verdict', (verdict) => {
      const text = verdict.mode === 'transcode' ? `transcode: ${verdict.reason}` : 'passthrough';
      this.#logger.info({ video: text }, 'ingress video decided');
      this.#room.setAttributes({ 'sluice.ingress.video': text });
    });
    const publish = (format: TrackFormat): void => {
      this.#room.publish(format);
    };
    const write = (packet: EncodedPacket): void => {
      this.#gate.write(packet);
      if (this.#isInterrupted && this.#encoder !== undefined) {
        this.#isInterrupted = false;
        this.#onMediaInRoom();
      }
    };
    this.#video.events.on('format', publish);
    this.#video.events.on('packet', write);
    this.#video.events.on('failed', fail);
    this.#audio.events.on('format', publish);
    this.#audio.events.on('packet', write);
    this.#audio.events.on('failed', fail);
    this.#room.events.on('failed', fail);
    this.#room.events.on('disconnected', ({ reason }) => {
      this.#logger.info({ reason }, 'ingress participant disconnected');
      fail({ error: new ServiceError('aborted', 'room disconnected') });
    });
    this.#room.events.on('published', ({ kind }) => {
      this.#logger.info({ kind }, 'ingress track published');
      this.#onMediaInRoom();
    });
    this.#video.events.on('slowKeyframes', ({ intervalS }) => {
      const text = `${intervalS} s; set the encoder to 2 s, 4 s at most`;
      if (!this.#slowKeyframesLogged) {
        this.#slowKeyframesLogged = true;
        this.#logger.warn({ intervalS }, 'key frames of the encoder are too far apart');
      }
      this.#room.setAttributes({ 'sluice.ingress.keyframeInterval': text });
    });
  }

  #onMediaInRoom(): void {
    if (!this.#stopping && this.#encoder !== undefined && this.#state.status === 'buffering') {
      this.#state.setStatus('publishing');
    }
    this.#report();
  }

  /** What comes next does not continue what came last. */
  #interrupt(): void {
    this.#isInterrupted = this.#room.hasPublished;
    this.#clock.restart();
    this.#edge.restart();
    this.#video.interrupted();
    this.#audio.interrupted();
  }

  #take(work: () => void): void {
    if (this.#stopping) {
      return;
    }
    try {
      work();
    } catch (error) {
      void this.#finish(messageOf(error), ServiceError.from(error, 'malformed'));
    }
  }

  #reportPeriodically(): void {
    this.#report();
    this.#reportTimer = setTimeout(() => {
      this.#reportPeriodically();
    }, REPORT_INTERVAL_MS);
  }

  #report(): void {
    const nowUs = monotonicUs();
    const video = this.#videoMeter.read(nowUs);
    const audio = this.#audioMeter.read(nowUs);
    const { source: videoSource } = this.#video;
    const { source: audioSource } = this.#audio;
    this.#state.setRoom(this.#room.roomSid);
    this.#state.setInput(
      videoSource && {
        mimeType: `video/${this.#video.codec}`,
        width: videoSource.width,
        height: videoSource.height,
        framerate: videoSource.framerate ?? video.packetsPerS,
        bitsPerS: video.bitsPerS,
      },
      audioSource && {
        mimeType: `audio/${this.#audio.codec}`,
        channels: audioSource.channels,
        sampleRateHz: audioSource.outputSampleRateHz,
        bitsPerS: audio.bitsPerS,
      },
    );
    void this.#state.report();
  }

  /** The first cause counts; everybody who calls later waits for the same end. */
  async #finish(cause: string, failure?: Error): Promise<void> {
    if (!this.#stopping) {
      this.#stopping = true;
      clearTimeout(this.#reportTimer);
      clearTimeout(this.#windowTimer);
      this.#encoder?.drop(cause);
      if (failure === undefined) {
        this.#logger.info({ cause }, 'ingress session ends');
      } else {
        this.#logger.warn({ cause, err: failure }, 'ingress session failed');
      }
      await Promise.allSettled([this.#video.close(), this.#audio.close()]);
      this.#gate.close();
      await this.#room.close(cause);
      const ended = STATUS_AT_END[this.#options.kind];
      this.#state.setStatus(failure === undefined ? ended : 'error', failure && messageOf(failure));
      await this.#state.report();
      await Promise.allSettled(this.#handlers.map((unregister) => unregister()));
      this.#resolveEnded();
    }
    return this.ended;
  }
}
