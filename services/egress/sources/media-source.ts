import { monotonicUs } from '../../base/clock.ts';
import type { ServiceError } from '../../base/errors.ts';
import { SafeEmitter } from '../../base/events.ts';
import type { Logger } from '../../base/logger.ts';
import type { MediaJob } from '../../model/egress-plan.ts';
import type { EncodedPacket } from '../../model/packet.ts';
import type { ConnectRoom, RemoteTrack, RoomClient } from '../../rtc-client/room-client-types.ts';
import type { TrackFacts } from '../handler-messages.ts';
import { MediaLines } from '../room-media/media-lines.ts';
import { PictureFeed } from '../room-media/picture-feed.ts';
import type { Encoding } from '../../model/presets.ts';
import { connectionLost, isRoomEnd, stoppedBeforeStart } from '../room-media/room-end.ts';
import { RoomWatch } from '../room-media/room-watch.ts';
import { SoundFeed } from '../room-media/sound-feed.ts';
import { AudioRouting } from '../room-media/track-choice.ts';
import type { EgressSource, EgressSourceEvents, SourceEnd } from './source-types.ts';

/**
 * Nobody watches a recording live: waking up a few times a second instead of for each packet halves its cost. Sound
 * alone is delayed by the mix anyway.
 */
const ROUND_MS = { picture: 200, soundOnly: 400 } as const;
/** After this process stood still, the packets that came meanwhile are read before anything is taken for missing. */
const STALL_US = 900_000;
/** Published but silent (muted) tracks must not keep a recording from starting. */
const FIRST_MEDIA_MS = 3_000;
/** A track that could not be subscribed is asked for again at the next change of the room, and after this time. */
const RETRY_MS = 5_000;

export type MediaSourceOptions = {
  job: MediaJob;
  encoding: Encoding;
  wsUrl: string;
  /** Hidden recorder token. */
  token: string;
  /** How long participants and tracks may take to appear. */
  waitMs: number;
  ffmpegPath: string;
  connect: ConnectRoom;
  logger: Logger;
};

export type MediaSource = EgressSource & {
  /** Known once start() has resolved. */
  readonly facts: TrackFacts;
};

/** Room tracks without a page: one picture at a time and a mix of sounds, encoded as the job wants them. */
export function createMediaSource(options: MediaSourceOptions): MediaSource {
  return new RoomMediaSource(options);
}

class RoomMediaSource implements MediaSource {
  readonly events: SafeEmitter<EgressSourceEvents>;
  readonly #options: MediaSourceOptions;
  readonly #lines: MediaLines;
  readonly #roundMs: number;
  #client: RoomClient | undefined;
  #watch: RoomWatch | undefined;
  #pictures: PictureFeed | undefined;
  #sounds: SoundFeed | undefined;
  #onFirstMedia: () => void = () => undefined;
  #onRefused: (error: ServiceError) => void = () => undefined;
  #timer: NodeJS.Timeout | undefined;
  #advancedAtUs = 0;
  #retryAtUs = 0;
  #facts: TrackFacts = { trackId: '', publisherIdentity: '', trackType: '', trackSource: '' };
  #ended = false;
  #stopping: Promise<void> | undefined;
  #closing: Promise<void> | undefined;

  constructor(options: MediaSourceOptions) {
    const { job, encoding, ffmpegPath, logger } = options;
    this.#options = options;
    this.#roundMs = job.video.from === 'none' ? ROUND_MS.soundOnly : ROUND_MS.picture;
    this.events = new SafeEmitter(logger);
    this.#lines = new MediaLines({
      ...{ encoding, ffmpegPath, logger },
      kinds: kindsOf(job),
      onFormat: (format) => {
        this.events.emit('format', format);
      },
      onPacket: (packet) => {
        this.events.emit('packet', packet);
      },
      onFailure: (error) => {
        this.#end({ reason: 'failed', error });
      },
    });
  }

  get facts(): TrackFacts {
    return this.#facts;
  }

  async start(signal: AbortSignal): Promise<{ kinds: ('video' | 'audio')[] }> {
    const { job, wsUrl, token, connect, logger, waitMs } = this.#options;
    const client = await connect({
      ...{ url: wsUrl, token, logger, signal },
      autoSubscribe: false,
      mediaBatchMs: this.#roundMs,
    });
    this.#client = client;
    const watch = new RoomWatch(job, client, new AudioRouting(job.audio));
    this.#watch = watch;
    await watch.arrival(waitMs, signal);
    this.#facts = factsOf(job, watch);
    const common = {
      ...{ client, logger },
      onRefused: (track: RemoteTrack, error: ServiceError) => {
        logger.warn({ err: error, trackSid: track.trackSid }, 'failed to subscribe to a track');
        this.#onRefused(error);
      },
    };
    const place = (packet: EncodedPacket): number => this.#place(packet);
    this.#pictures = new PictureFeed({ ...common, place, line: () => this.#lines.picture });
    this.#sounds = new SoundFeed({ ...common, place, line: () => this.#lines.sound });
    await this.#firstMedia(client, signal);
    this.#follow(client, watch);
    return { kinds: kindsOf(job) };
  }

  /** Asks for nothing: the encoder makes key frames at the interval of the job. */
  requestKeyframe(): void {
    this.#options.logger.debug({}, 'key frames come at the interval of the job');
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  close(cause: string): Promise<void> {
    this.#closing ??= this.#close(cause);
    return this.#closing;
  }

  /** Subscribes, and resolves with the first packet, or without when the tracks stay silent. */
  #firstMedia(client: RoomClient, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const cleanUps: (() => void)[] = [];
      const settle = (error?: ServiceError): void => {
        for (const cleanUp of cleanUps) {
          cleanUp();
        }
        this.#onFirstMedia = () => undefined;
        this.#onRefused = () => undefined;
        if (error !== undefined) {
          reject(error);
          return;
        }
        this.#begin(monotonicUs());
        resolve();
      };
      const onAbort = (): void => {
        settle(stoppedBeforeStart());
      };
      const timer = setTimeout(settle, FIRST_MEDIA_MS);
      signal.addEventListener('abort', onAbort, { once: true });
      cleanUps.push(
        () => {
          clearTimeout(timer);
        },
        () => {
          signal.removeEventListener('abort', onAbort);
        },
        client.events.on('disconnected', ({ reason }) => {
          settle(connectionLost(reason));
        }),
      );
      this.#onFirstMedia = settle;
      this.#onRefused = settle;
      if (signal.aborted) {
        onAbort();
        return;
      }
      this.#chooseTracks();
      if (this.#pictures?.trackSid === undefined && this.#sounds?.isEmpty !== false) {
        settle();
      }
    });
  }

  #begin(startUs: number): void {
    if (!this.#lines.hasBegun && !this.#ended) {
      this.#lines.begin(startUs);
      this.#advancedAtUs = monotonicUs();
      this.#timer = setInterval(() => {
        this.#advance();
      }, this.#roundMs);
    }
  }

  /** Puts a packet on the clock of the recording; the first one starts it. */
  #place(packet: EncodedPacket): number {
    if (!this.#lines.hasBegun) {
      this.#begin(packet.ptsUs);
      this.#onFirstMedia();
    }
    return this.#lines.timeOf(packet.ptsUs);
  }

  #follow(client: RoomClient, watch: RoomWatch): void {
    watch.onChange(() => {
      this.#chooseTracks();
    });
    watch.onGone(() => {
      this.#end({ reason: 'source_closed' });
    });
    client.events.on('disconnected', ({ reason }) => {
      this.#end(
        isRoomEnd(reason) ? { reason: 'source_closed' } : { reason: 'failed', error: connectionLost(reason) },
      );
    });
    this.#chooseTracks();
  }

  #chooseTracks(): void {
    const watch = this.#watch;
    if (watch !== undefined && !this.#ended) {
      this.#pictures?.select(watch.video());
      this.#sounds?.select(watch.audio());
      this.#retryAtUs = monotonicUs() + RETRY_MS * 1000;
    }
  }

  #advance(): void {
    const nowUs = monotonicUs();
    const stalled = nowUs - this.#advancedAtUs > STALL_US;
    this.#advancedAtUs = nowUs;
    if (!stalled) {
      const { picture, sound } = this.#lines;
      const timeUs = this.#lines.timeOf(nowUs);
      this.#pictures?.advance(picture, timeUs);
      sound?.advance(timeUs);
    }
    if (nowUs >= this.#retryAtUs) {
      this.#chooseTracks();
    }
  }

  #end(end: SourceEnd): void {
    if (!this.#ended) {
      this.#ended = true;
      this.events.emit('ended', end);
    }
  }

  async #stop(): Promise<void> {
    this.#ended = true;
    clearInterval(this.#timer);
    this.#watch?.close();
    this.#sounds?.release();
    this.#pictures?.finish(this.#lines.picture, this.#lines.timeOf(monotonicUs()));
    await this.#lines.close();
  }

  async #close(cause: string): Promise<void> {
    await this.stop();
    await this.#client?.close(cause);
    this.events.removeAll();
  }
}

function kindsOf(job: MediaJob): ('video' | 'audio')[] {
  const hasAudio = job.audio.captureAll || job.audio.routes.length > 0;
  return [...(job.video.from === 'none' ? [] : ['video' as const]), ...(hasAudio ? ['audio' as const] : [])];
}

/** What file names and the manifest may tell about the source. */
function factsOf(job: MediaJob, watch: RoomWatch): TrackFacts {
  const audio = watch.audio()[0]?.track;
  const isByTracks = job.endsWith === 'tracks';
  const named = isByTracks ? (watch.video() ?? audio) : undefined;
  return {
    trackId: '',
    publisherIdentity: watch.identity !== '' ? watch.identity : (named?.participantIdentity ?? ''),
    trackType: '',
    trackSource: '',
    ...(isByTracks && audio !== undefined ? { audioTrackId: audio.trackSid } : {}),
    ...(job.video.from === 'track' ? { videoTrackId: job.video.trackId } : {}),
  };
}
