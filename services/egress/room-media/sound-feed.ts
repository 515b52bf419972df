import type { ServiceError } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import type { MixChannel } from '../../media/audio/mix-lane.ts';
import type { EncodedPacket } from '../../model/packet.ts';
import type { RemoteTrack, RoomClient } from '../../rtc-client/room-client-types.ts';
import type { MixInput, SoundLine } from './sound-line.ts';
import { TrackSeat } from './track-seat.ts';

export type SoundFeedOptions = {
  client: RoomClient;
  logger: Logger;
  /** Time of a packet in the recording. */
  place: (packet: EncodedPacket) => number;
  /** Undefined before the recording has begun. */
  line: () => SoundLine | undefined;
  onRefused: (track: RemoteTrack, error: ServiceError) => void;
};

type Voice = { seat: TrackSeat; input: MixInput | undefined };

/** Keeps every chosen audio track in the mix, on its channel. */
export class SoundFeed {
  readonly #options: SoundFeedOptions;
  readonly #voices = new Map<string, Voice>();

  constructor(options: SoundFeedOptions) {
    this.#options = options;
  }

  get isEmpty(): boolean {
    return this.#voices.size === 0;
  }

  select(chosen: readonly { track: RemoteTrack; channel: MixChannel }[]): void {
    const wanted = new Set(chosen.map(({ track }) => track.trackSid));
    for (const [trackSid, voice] of [...this.#voices]) {
      if (!wanted.has(trackSid)) {
        voice.seat.release();
        this.#drop(trackSid, voice);
      }
    }
    for (const { track, channel } of chosen) {
      if (!this.#voices.has(track.trackSid)) {
        this.#add(track, channel);
      }
    }
  }

  release(): void {
    this.select([]);
  }

  #add(track: RemoteTrack, channel: MixChannel): void {
    const { client, logger, place, line, onRefused } = this.#options;
    const voice: Voice = {
      input: undefined,
      seat: new TrackSeat({
        ...{ client, track, logger },
        onPacket: (packet) => {
          const ptsUs = place(packet);
          voice.input ??= line()?.add(channel);
          voice.input?.write({ ptsUs, data: packet.data });
        },
        onEnded: (error) => {
          this.#drop(track.trackSid, voice);
          if (error !== undefined) {
            onRefused(track, error);
          }
        },
      }),
    };
    this.#voices.set(track.trackSid, voice);
  }

  #drop(trackSid: string, voice: Voice): void {
    voice.input?.remove();
    if (this.#voices.get(trackSid) === voice) {
      this.#voices.delete(trackSid);
    }
  }
}
