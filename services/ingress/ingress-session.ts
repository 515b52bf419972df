import type { IngressInfo, IngressState, UpdateIngressRequest } from '@livekit/protocol';
import { monotonicUs } from '../base/clock.ts';
import { messageOf, ServiceError } from '../base/errors.ts';
import { newId } from '../base/ids.ts';
import type { Logger } from '../base/logger.ts';
import type { Bus, Unregister } from '../bus/bus.ts';
import { IngressHandler } from '../bus/rpc-methods.ts';
import type { AmfObject } from '../protocol/amf0.ts';
import type { ConnectRoom } from '../rtc-client/room-client-types.ts';
import { EncoderSeat } from './encoder-seat.ts';
import { ingressSettings } from './ingress-settings.ts';
import { liveUpdate } from './live-update.ts';
import { MediaWatchdog } from './media-watchdog.ts';
import { RefusedTracks } from './refused-tracks.ts';
import { RoomPublisher, type RoomAccess } from './room-publisher.ts';
import type { EncoderConnection, MediaSink, SourceDescription } from './servers/publisher-types.ts';
import { RTMP_SESSION_POLICY, type RtmpSessionPolicy } from './rtmp-session-policy.ts';
import { SessionMedia } from './session-media.ts';
import { SessionNotices } from './session-notices.ts';
import { AwaySlate } from './slate/away-slate.ts';
import { chosenSlate, type SlateSettings } from './slate/slate-choice.ts';
import type { SlateFilms } from './slate/slate-film.ts';
import type { OnPacketLatency } from './packet-latency.ts';
import type { RunningSession } from './session-registry.ts';
import { SessionReport } from './session-report.ts';
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
  /** Shown while an RTMP encoder is away; default: nothing is. */
  slates?: { settings: SlateSettings; films: SlateFilms };
  /** The encoder's picture is transcoded from now on. */
  onTranscoding?: () => void;
  onLatency?: OnPacketLatency;
  /** How it began; endpoints that are pushed to wait for the next encoder, a URL is played once. */
  kind: 'rtmp' | 'srt' | 'url';
  /** A URL that is not paced here. */
  isLive?: boolean;
};

const RESOURCE_PREFIX = { rtmp: 'RT_', srt: 'SR_', url: 'UR_' } as const;
const STATUS_AT_END = { rtmp: 'inactive', srt: 'inactive', url: 'complete' } as const;

/** One encoder that publishes to one endpoint, from the accepted key to the participant's leaving. */
export class IngressSession implements MediaSink, RunningSession {
  /** Resolves when everything is closed and the last state is reported; never rejects. */
  readonly ended: Promise<void>;
  readonly #options: IngressSessionOptions;
  readonly #logger: Logger;
  /** With the names of the latest update. */
  #info: IngressInfo;
  readonly #state: StateReporter;
  readonly #room: RoomPublisher;
  readonly #media: SessionMedia;
  readonly #report: SessionReport;
  readonly #notices: SessionNotices;
  readonly #watchdog = new MediaWatchdog((error) => {
    void this.#finish(error.message, error);
  });
  #handlers: Unregister[] = [];
  readonly #policy: RtmpSessionPolicy;
  readonly #seat: EncoderSeat;
  readonly #slate: AwaySlate | undefined;
  readonly #refused = new RefusedTracks({
    onRefused: (kind, error) => {
      if (!this.#stopping) {
        this.#notices.trackRefused(kind, error);
        this.#report.now();
      }
    },
    onNothingLeft: (error) => void this.#finish(error.message, error),
  });
  /** Media has not come back yet. */
  #isInterrupted = false;
  #stopping = false;
  #resolveEnded: () => void = () => undefined;

  /** @throws ServiceError failed_precondition when the endpoint's settings cannot be published. */
  constructor(options: IngressSessionOptions) {
    this.#options = options;
    this.#info = options.info;
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
    const isLive = options.kind !== 'url' || options.isLive === true;
    this.#media = new SessionMedia({
      ...{ settings, ffmpegPath, logger },
      // A recording is read at its own pace.
      maxLatencyMs: isLive ? this.#policy.maxLatencyMs : Number.POSITIVE_INFINITY,
    });
    this.#room = new RoomPublisher({
      room: options.room,
      settings,
      resourceId,
      connectRoom: options.connectRoom,
      logger,
    });
    this.#slate = this.#createSlate();
    this.#seat = new EncoderSeat({
      ...{ encoder: options.encoder, policy: this.#policy, logger, session: this },
      quietForMs: () => (monotonicUs() - this.#media.lastArrivalUs) / 1000,
      onTaken: (before) => this.#onTaken(before),
    });
    this.#notices = new SessionNotices({ media: this.#media, room: this.#room, state: this.#state, logger });
    this.#report = new SessionReport(this.#state, this.#media, this.#room);
    this.#wire();
  }

  /** TCP connections and programs say when they are gone. */
  readonly isSilent = false;

  /** Whether the next encoder with the same key is accepted, with the participant and its tracks as they are. */
  get takesNext(): boolean {
    return !this.#stopping && this.#seat.takesNext;
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
      bus.serve(IngressHandler.updateIngress, (request) => this.#update(request), { topic }),
      bus.serve(IngressHandler.deleteIngress, () => this.stop('ingress deleted'), { topic }),
    ]);
    await this.#state.report();
    this.#room.join();
    this.#report.start();
    this.#watchdog.expectMedia();
    this.#logger.info('ingress session started');
  }

  /** As EncoderSeat.sink. */
  sink(): MediaSink {
    return this.#seat.sink();
  }

  /** As EncoderSeat.accept. */
  accept(encoder: EncoderConnection): MediaSink {
    return this.#seat.accept(encoder);
  }

  metadata(values: AmfObject): void {
    const encoder = values.get('encoder');
    this.#logger.info(
      { encoder: typeof encoder === 'string' ? encoder.slice(0, 100) : '' },
      'encoder metadata',
    );
  }

  source(description: SourceDescription): void {
    this.#media.source(description);
  }

  outOfNetwork(eventId: string): void {
    this.#room.setAttributes({ 'ingress.outOfNetwork.eventID': eventId });
  }

  audio(timestampMs: number, body: Buffer, arrivalUs?: number): void {
    this.#take('audio', timestampMs, body, arrivalUs);
  }

  video(timestampMs: number, body: Buffer, arrivalUs?: number): void {
    this.#take('video', timestampMs, body, arrivalUs);
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
    this.#seat.leave(() => {
      this.end(cause);
    });
    this.#watchdog.clear();
    this.#interrupt();
    this.#state.setStatus('buffering');
    this.#report.now();
    this.#slate?.show();
    this.#logger.info({ cause, reconnectWindowMs }, 'ingress encoder lost, waiting for it');
  }

  end(cause: string, failure?: Error): void {
    // An encoder that was quick to leave never hears what it should have sent.
    void this.#finish(cause, failure ?? this.#refused.nothingRead);
  }

  /** Drops the encoder; resolves to the final state. */
  async stop(cause: string): Promise<IngressState> {
    await this.#finish(cause);
    return this.#state.snapshot();
  }

  /** New names are told the room; anything else ends the session, and the encoder comes back to the new settings. */
  async #update(request: UpdateIngressRequest): Promise<IngressState> {
    const names = liveUpdate(this.#info, request);
    if (names === undefined) {
      return this.stop('ingress updated');
    }
    this.#info = this.#info.clone();
    this.#info.participantName = names.name || this.#info.participantName;
    this.#info.participantMetadata = names.metadata || this.#info.participantMetadata;
    this.#room.rename(names);
    this.#logger.info('ingress renamed');
    return this.#state.snapshot();
  }

  #wire(): void {
    const fail = ({ error }: { error: Error }): void => {
      void this.#finish(messageOf(error), error);
    };
    this.#media.events.on('verdict', (verdict) => {
      if (verdict.mode === 'transcode' || verdict.lower === 'encoded') {
        this.#options.onTranscoding?.();
      }
    });
    this.#media.events.on('format', (format) => {
      this.#room.publish(format);
      if (format.kind === 'video') {
        this.#slate?.prepare();
      }
    });
    this.#media.events.on('packet', (packet) => {
      this.#room.write(packet);
      this.#options.onLatency?.(this.#options.kind, packet.kind, monotonicUs() - packet.ptsUs);
      this.#refused.published(packet.kind);
      if (this.#isInterrupted && this.#seat.isTaken) {
        this.#isInterrupted = false;
        this.#onMediaInRoom();
      }
    });
    this.#media.events.on('slowKeyframes', () => this.#report.now());
    this.#media.events.on('failed', fail);
    this.#room.events.on('failed', fail);
    this.#room.events.on('watched', ({ isWatched }) => this.#media.setWatched(isWatched));
    this.#room.events.on('disconnected', ({ reason }) => {
      this.#logger.info({ reason }, 'ingress participant disconnected');
      fail({ error: new ServiceError('aborted', 'room disconnected') });
    });
    this.#room.events.on('published', ({ kind }) => {
      this.#logger.info({ kind }, 'ingress track published');
      this.#onMediaInRoom();
    });
  }

  /** @throws ServiceError failed_precondition when the endpoint wants one that nobody has configured. */
  #createSlate(): AwaySlate | undefined {
    const { info, slates } = this.#options;
    const file = slates && chosenSlate(info.participantMetadata, slates.settings);
    return slates === undefined || file === undefined
      ? undefined
      : new AwaySlate({
          film: (size) => slates.films.film(file, size),
          size: () => this.#media.h264Size,
          send: (timestampMs, body) => this.#media.slate(timestampMs, body),
          logger: this.#logger,
        });
  }

  #onMediaInRoom(): void {
    this.#watchdog.clear();
    if (!this.#stopping && this.#seat.isTaken && this.#state.status === 'buffering') {
      this.#state.setStatus('publishing');
    }
    this.#report.now();
  }

  /** Time goes on. */
  #onTaken(before: 'nobody' | 'other' | 'same'): void {
    const wasShown = this.#slate?.hide() ?? false;
    this.#media.resumed();
    this.#notices.forget();
    if (this.#state.status === 'buffering') {
      this.#watchdog.expectMedia();
    }
    if (before !== 'nobody' || wasShown) {
      this.#interrupt({ overlapping: before === 'same' });
    }
  }

  /** What comes next does not continue what came last. */
  #interrupt({ overlapping = false } = {}): void {
    this.#isInterrupted = this.#room.hasPublished;
    this.#media.interrupted({ overlapping });
  }

  #take(kind: 'audio' | 'video', timestampMs: number, body: Buffer, arrivalUs: number | undefined): void {
    if (this.#stopping) {
      return;
    }
    try {
      this.#media[kind](timestampMs, body, arrivalUs);
      this.#refused.taken(kind);
    } catch (cause) {
      const error = ServiceError.from(cause, 'malformed');
      if (error.code === 'unimplemented') {
        this.#refused.refuse(kind, error);
      } else {
        void this.#finish(messageOf(cause), error);
      }
    }
  }

  /** The first cause counts; everybody who calls later waits for the same end. */
  async #finish(cause: string, failure?: Error): Promise<void> {
    if (!this.#stopping) {
      this.#stopping = true;
      this.#report.stop();
      this.#refused.close();
      this.#watchdog.clear();
      this.#notices.forget();
      this.#slate?.hide();
      this.#seat.close(cause);
      if (failure === undefined) {
        this.#logger.info({ cause }, 'ingress session ends');
      } else {
        this.#logger.warn({ cause, err: failure }, 'ingress session failed');
      }
      await this.#media.close();
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
