import type { ServiceError } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import type { IvfCodec } from '../../media/ffmpeg/ivf.ts';
import type { AudioCodec, EncodedPacket, VideoCodec } from '../../model/packet.ts';
import type { RemoteTrack, RoomClient } from '../../rtc-client/room-client-types.ts';
import type { PictureLine } from './picture-line.ts';
import { TrackSeat } from './track-seat.ts';

export type PictureFeedOptions = {
  client: RoomClient;
  logger: Logger;
  /** Time of a packet in the recording. */
  place: (packet: EncodedPacket) => number;
  /** Undefined before the recording has begun, and after it. */
  line: () => PictureLine | undefined;
  onRefused: (track: RemoteTrack, error: ServiceError) => void;
};

/** A track that says nothing for this many rounds (2 s) has no picture any more; time alone would blame it for our stalls. */
const INACTIVE_ROUNDS = 10;
/** Black is put this far behind the present: pictures may still be under way. */
const BLACK_BEHIND_US = 500_000;
/** What black is encoded as before any track was seen. */
const DEFAULT_CODEC: IvfCodec = 'vp8';

/** Feeds the chosen track into the picture line, black when there is none; a new choice waits for its key frame. */
export class PictureFeed {
  readonly #options: PictureFeedOptions;
  #current: TrackSeat | undefined;
  #next: TrackSeat | undefined;
  #silentRounds = 0;

  constructor(options: PictureFeedOptions) {
    this.#options = options;
  }

  get trackSid(): string | undefined {
    return (this.#next ?? this.#current)?.track.trackSid;
  }

  select(track: RemoteTrack | undefined): void {
    if (track?.trackSid === this.trackSid) {
      return;
    }
    this.#next?.release();
    this.#next = undefined;
    if (track === undefined || track.trackSid === this.#current?.track.trackSid) {
      return;
    }
    const { client, logger, onRefused } = this.#options;
    const seat: TrackSeat = new TrackSeat({
      ...{ client, track, logger },
      onPacket: (packet) => {
        this.#onPacket(seat, packet);
      },
      onEnded: (error) => {
        this.#next = this.#next === seat ? undefined : this.#next;
        this.#current = this.#current === seat ? undefined : this.#current;
        if (error !== undefined) {
          onRefused(track, error);
        }
      },
    });
    this.#next = seat;
  }

  /** Fills in black where pictures are missing. Call five times per second. */
  advance(line: PictureLine | undefined, nowUs: number): void {
    if (line === undefined) {
      return;
    }
    const track = this.#current?.track;
    if (track !== undefined && !track.muted && line.needsKey) {
      this.#current?.requestKeyframe();
    }
    this.#silentRounds += 1;
    const isQuiet = this.#silentRounds > INACTIVE_ROUNDS;
    const isActive = track !== undefined && !track.muted && !isQuiet;
    const isStarting = line.lastPtsUs < 0 && this.#next !== undefined && !isQuiet;
    if (isActive || isStarting) {
      return;
    }
    const codec = codecOf((this.#next ?? this.#current)?.codec) ?? DEFAULT_CODEC;
    line.black(line.lastPtsUs < 0 ? 0 : Math.max(line.lastPtsUs, nowUs - BLACK_BEHIND_US), codec);
  }

  /** Lets the tracks go; black lasts to the end. */
  finish(line: PictureLine | undefined, endUs: number): void {
    if (line !== undefined && line.needsKey) {
      line.black(Math.max(0, line.lastPtsUs, endUs), DEFAULT_CODEC);
    }
    this.#next?.release();
    this.#current?.release();
    this.#next = undefined;
    this.#current = undefined;
  }

  #onPacket(seat: TrackSeat, packet: EncodedPacket): void {
    const codec = codecOf(seat.codec);
    if (codec === undefined || seat.track.muted) {
      return;
    }
    const ptsUs = this.#options.place(packet);
    const line = this.#options.line();
    if (line === undefined) {
      return;
    }
    if (seat === this.#next) {
      if (!packet.key) {
        seat.requestKeyframe();
        return;
      }
      this.#current?.release();
      this.#current = seat;
      this.#next = undefined;
      line.restart();
    }
    line.write({ codec, ptsUs, key: packet.key, data: packet.data });
    if (!line.needsKey) {
      this.#silentRounds = 0;
    }
  }
}

function codecOf(codec: VideoCodec | AudioCodec | undefined): IvfCodec | undefined {
  return codec === 'vp8' || codec === 'vp9' || codec === 'h264' ? codec : undefined;
}
