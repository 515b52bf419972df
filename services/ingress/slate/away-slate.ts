import type { Logger } from '../../base/logger.ts';
import type { PictureSize, SlateFilm } from './slate-film.ts';
import { SlatePlayer } from './slate-player.ts';

export type AwaySlateOptions = {
  /** Encodes the slate, or finds it encoded. */
  film: (size: PictureSize) => Promise<SlateFilm>;
  /** Size of the encoder's picture; undefined: there is none that an H.264 slate could stand in for. */
  size: () => PictureSize | undefined;
  /** Takes video messages as an encoder sends them. @throws ServiceError as for an encoder's. */
  send: (timestampMs: number, body: Buffer) => void;
  logger: Logger;
};

/** The slate of one session: made while the encoder is there, played while it is away. */
export class AwaySlate {
  readonly #options: AwaySlateOptions;
  #player: SlatePlayer | undefined;
  #isAway = false;

  constructor(options: AwaySlateOptions) {
    this.#options = options;
  }

  /** So that it is there when it is needed. Call when the picture's size is known. */
  prepare(): void {
    void this.#film();
  }

  /** The encoder is away. */
  show(): void {
    this.#isAway = true;
    void this.#film().then((film) => {
      if (film !== undefined && this.#isAway && this.#player === undefined) {
        this.#options.logger.info('ingress slate shown');
        this.#player = new SlatePlayer(film, (timestampMs, body) => this.#send(timestampMs, body));
      }
    });
  }

  /** @returns whether it was shown. */
  hide(): boolean {
    this.#isAway = false;
    const player = this.#player;
    this.#player = undefined;
    player?.stop();
    return player !== undefined;
  }

  /** A session does not end for want of a slate. */
  async #film(): Promise<SlateFilm | undefined> {
    const { film, size, logger } = this.#options;
    const picture = size();
    if (picture === undefined) {
      logger.warn('no ingress slate: it stands in for H.264 only');
      return undefined;
    }
    return film(picture).catch((error: unknown) => {
      logger.error({ err: error }, 'no ingress slate');
      return undefined;
    });
  }

  #send(timestampMs: number, body: Buffer): void {
    if (!this.#isAway) {
      return;
    }
    try {
      this.#options.send(timestampMs, body);
    } catch (error) {
      this.hide();
      this.#options.logger.error({ err: error }, 'ingress slate stopped');
    }
  }
}
