import { monotonicUs } from '../../base/clock.ts';
import type { ServiceError } from '../../base/errors.ts';
import { SafeEmitter } from '../../base/events.ts';
import type { Logger } from '../../base/logger.ts';
import type { MediaJob } from '../../model/egress-plan.ts';
import type { EncodedPacket } from '../../model/packet.ts';
import type { ConnectRoom, RemoteTrack, RoomClient } from '../../rtc-client/room-client-types.ts';
import type { TrackFacts } from '../handler-messages.ts';
import { PictureFeed } from '../room-media/picture-feed.ts';
import type { PictureEncoding } from '../room-media/picture-encoder-args.ts';
import { PictureLine } from '../room-media/picture-line.ts';
import { connectionLost, isRoomEnd, stoppedBeforeStart } from '../room-media/room-end.ts';
import { RoomWatch } from '../room-media/room-watch.ts';
import { SoundFeed } from '../room-media/sound-feed.ts';
import { SoundLine } from '../room-media/sound-line.ts';
import { AudioRouting } from '../room-media/track-choice.ts';
import type { EgressSource, EgressSourceEvents } from './source-types.ts';

/** Nobody watches a recording live: waking up five times a second instead of for each packet halves its cost. */
const MEDIA_BATCH_MS = 200;
const ADVANCE_MS = 200;
/** Published but silent (muted) tracks must not keep a recording from starting. */
const FIRST_MEDIA_MS = 3_000;
/** About half a minute of sound. */
const MAX_HELD_PACKETS = 1_500;
/** A track that could not be subscribed is asked for again at the next change of the room, and after this time. */
const RETRY_MS = 5_000;

export type MediaSourceOptions = {
  job: MediaJob;
  encoding: PictureEncoding;
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
  #client: RoomClient | undefined;
  #watch: RoomWatch | undefined;
  #pictures: PictureFeed | undefined;
  #sounds: SoundFeed | undefined;
  #pictureLine: PictureLine | undefined;
  #soundLine: SoundLine | undefined;
  /** Session clock at time 0 of the recording. */
  #startUs: number | undefined;
  #heldSound: EncodedPacket[] | undefined;
  #onFirstMedia: () => void = () => undefined;
  #onRefused: (track: RemoteTrack, error: ServiceError) => void = () => undefined;
  #timer: NodeJS.Timeout | undefined;
  #retryAtUs = 0;
  #facts: TrackFacts = { trackId: '', publisherIdentity: '', trackType: '', trackSource: '' };
  #ended = false;
  #stopping: Promise<void> | undefined;
  #closing: Promise<void> | undefined;

  constructor(options: MediaSourceOptions) {
    this.#options = options;
    this.events = new SafeEmitter(options.logger);
  }

  get facts(): TrackFacts {
    return this.#facts;
  }

  async start(signal: AbortSignal): Promise<{ kinds: ('video' | 'audio')[] }> {
    const { job, wsUrl, token, connect, logger, waitMs } = this.#options;
    const client = await connect({
      ...{ url: wsUrl, token, logger, signal },
      autoSubscribe: false,
      mediaBatchMs: MEDIA_BATCH_MS,
    });
    this.#client = client;
    const watch = new RoomWatch(job, client, new AudioRouting(job.audio));
    this.#watch = watch;
    await watch.arrival(waitMs, signal);
    this.#facts = factsOf(job, watch);
    this.#pictures = new PictureFeed({
      ...{ client, logger },
      place: (packet) => {
        const ptsUs = this.#place(packet);
        return this.#pictureLine === undefined ? undefined : { line: this.#pictureLine, ptsUs };
      },
      onRefused: (track, error) => {
        this.#refuse(track, error);
      },
    });
    this.#sounds = new SoundFeed({
      ...{ client, logger },
      place: (packet) => {
        const ptsUs = this.#place(packet);
        return this.#soundLine === undefined ? undefined : { line: this.#soundLine, ptsUs };
      },
      onRefused: (track, error) => {
        this.#refuse(track, error);
      },
    });
    await this.#firstMedia(client, signal);
    this.#follow(client, watch);
    return { kinds: kindsOf(job) };
  }

  /** Key frames come at the interval of the job: nothing has to be asked for. */
  requestKeyframe(): void {
    this.#pictures?.requestKeyframe();
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
      this.#onRefused = (_track, error) => {
        settle(error);
      };
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

  /** Time 0 is now; everything has a place to go from here on. */
  #begin(startUs: number): void {
    if (this.#startUs !== undefined) {
      return;
    }
    this.#startUs = startUs;
    const { job, encoding, ffmpegPath, logger } = this.#options;
    const common = {
      ...{ encoding, ffmpegPath, logger },
      onFormat: (format: EgressSourceEvents['format']) => {
        this.events.emit('format', format);
      },
      onPacket: (packet: EncodedPacket) => {
        this.#emitPacket(packet);
      },
      onFailure: (error: ServiceError) => {
        this.#fail(error);
      },
    };
    const kinds = kindsOf(job);
    this.#pictureLine = kinds.includes('video') ? new PictureLine(common) : undefined;
    this.#soundLine = kinds.includes('audio') ? new SoundLine(common) : undefined;
    this.#heldSound = this.#pictureLine === undefined ? undefined : [];
    this.#timer = setInterval(() => {
      this.#advance();
    }, ADVANCE_MS);
  }

  #follow(client: RoomClient, watch: RoomWatch): void {
    watch.onChange(() => {
      this.#chooseTracks();
    });
    watch.onGone(() => {
      this.#end();
    });
    client.events.on('disconnected', ({ reason }) => {
      if (isRoomEnd(reason)) {
        this.#end();
      } else {
        this.#fail(connectionLost(reason));
      }
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

  /** Time of a packet in the recording; the first one starts it. */
  #place(packet: EncodedPacket): number {
    if (this.#startUs === undefined && !this.#ended) {
      this.#begin(packet.ptsUs);
      this.#onFirstMedia();
    }
    return packet.ptsUs - (this.#startUs ?? packet.ptsUs);
  }

  #advance(): void {
    const nowUs = monotonicUs();
    const timeUs = nowUs - (this.#startUs ?? nowUs);
    if (this.#pictureLine !== undefined) {
      this.#pictures?.advance(this.#pictureLine, timeUs);
    }
    this.#soundLine?.advance(timeUs);
    if (nowUs >= this.#retryAtUs) {
      this.#chooseTracks();
    }
  }

  /** Sound waits for the first picture: outputs fix their tracks with what comes first. */
  #emitPacket(packet: EncodedPacket): void {
    const held = this.#heldSound;
    if (held !== undefined && packet.kind === 'audio' && held.length < MAX_HELD_PACKETS) {
      held.push(packet);
      return;
    }
    this.events.emit('packet', packet);
    this.#releaseSound();
  }

  #releaseSound(): void {
    const held = this.#heldSound ?? [];
    this.#heldSound = undefined;
    for (const packet of held) {
      this.events.emit('packet', packet);
    }
  }

  #refuse(track: RemoteTrack, error: ServiceError): void {
    this.#options.logger.warn({ err: error, trackSid: track.trackSid }, 'failed to subscribe to a track');
    this.#onRefused(track, error);
  }

  #end(): void {
    if (!this.#ended) {
      this.#ended = true;
      this.events.emit('ended', { reason: 'source_closed' });
    }
  }

  #fail(error: ServiceError): void {
    if (!this.#ended) {
      this.#ended = true;
      this.events.emit('ended', { reason: 'failed', error });
    }
  }

  async #stop(): Promise<void> {
    this.#ended = true;
    clearInterval(this.#timer);
    this.#watch?.close();
    const nowUs = monotonicUs();
    const timeUs = nowUs - (this.#startUs ?? nowUs);
    if (this.#pictureLine !== undefined) {
      this.#pictures?.advance(this.#pictureLine, timeUs);
    }
    this.#sounds?.release();
    this.#pictures?.release();
    await Promise.all([this.#pictureLine?.close(), this.#soundLine?.close(timeUs)]);
    this.#releaseSound();
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
