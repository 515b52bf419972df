import { monotonicUs } from '../../base/clock.ts';
import type { ServiceError } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import type { EncodedPacket, TrackFormat } from '../../model/packet.ts';
import type { Encoding } from '../../model/presets.ts';
import { PictureLine } from './picture-line.ts';
import { SoundLine } from './sound-line.ts';

export type MediaLinesOptions = {
  kinds: readonly ('video' | 'audio')[];
  encoding: Encoding;
  ffmpegPath: string;
  logger: Logger;
  onFormat: (format: TrackFormat) => void;
  onPacket: (packet: EncodedPacket) => void;
  onFailure: (error: ServiceError) => void;
};

/** About half a minute of sound. */
const MAX_HELD_PACKETS = 1_500;

/** Picture and sound of one recording on one clock, which starts with the first packet. */
export class MediaLines {
  readonly #options: MediaLinesOptions;
  #picture: PictureLine | undefined;
  #sound: SoundLine | undefined;
  /** Session clock at time 0. */
  #startUs: number | undefined;
  #heldSound: EncodedPacket[] | undefined;

  constructor(options: MediaLinesOptions) {
    this.#options = options;
  }

  get hasBegun(): boolean {
    return this.#startUs !== undefined;
  }

  get picture(): PictureLine | undefined {
    return this.#picture;
  }

  get sound(): SoundLine | undefined {
    return this.#sound;
  }

  /** Time 0 is here; a second call changes nothing. */
  begin(startUs: number): void {
    if (this.#startUs !== undefined) {
      return;
    }
    this.#startUs = startUs;
    const { kinds, encoding, ffmpegPath, logger, onFormat, onFailure } = this.#options;
    const common = {
      ...{ encoding, ffmpegPath, logger, onFormat, onFailure },
      onPacket: (packet: EncodedPacket) => {
        this.#emit(packet);
      },
    };
    if (kinds.includes('video')) {
      this.#picture = new PictureLine(common);
      this.#heldSound = [];
    }
    this.#sound = kinds.includes('audio') ? new SoundLine(common) : undefined;
  }

  /** A time of the session clock as time of the recording. */
  timeOf(sessionUs: number): number {
    return sessionUs - (this.#startUs ?? sessionUs);
  }

  /** Resolves after the last packet. */
  async close(): Promise<void> {
    const timeUs = this.timeOf(monotonicUs());
    await Promise.all([this.#picture?.close(), this.#sound?.close(timeUs)]);
    this.#releaseSound();
  }

  /** Sound waits for the first picture: outputs fix their tracks with what comes first. */
  #emit(packet: EncodedPacket): void {
    const held = this.#heldSound;
    if (held !== undefined && packet.kind === 'audio' && held.length < MAX_HELD_PACKETS) {
      held.push(packet);
      return;
    }
    this.#options.onPacket(packet);
    this.#releaseSound();
  }

  #releaseSound(): void {
    const held = this.#heldSound ?? [];
    this.#heldSound = undefined;
    for (const packet of held) {
      this.#options.onPacket(packet);
    }
  }
}
