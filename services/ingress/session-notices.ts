import type { ServiceError } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import { describeVerdict } from './publish/passthrough-decision.ts';
import type { RoomPublisher } from './room-publisher.ts';
import type { SessionMedia } from './session-media.ts';
import type { StateReporter } from './state-reporter.ts';

export type SessionNoticesOptions = {
  media: Pick<SessionMedia, 'events'>;
  room: Pick<RoomPublisher, 'setAttributes'>;
  state: Pick<StateReporter, 'setWarning'>;
  logger: Logger;
};

/** Says in the endpoint's state and the participant's attributes what is done with the picture and what is wrong with it. */
export class SessionNotices {
  readonly #options: SessionNoticesOptions;
  #slowKeyframesLogged = false;
  #slowKeyframesTold = false;

  constructor(options: SessionNoticesOptions) {
    this.#options = options;
    const { media, room, logger } = options;
    media.events.on('verdict', (verdict) => {
      const text = describeVerdict(verdict);
      logger.info({ video: text }, 'ingress video decided');
      room.setAttributes({ 'sluice.ingress.video': text });
    });
    media.events.on('slowKeyframes', ({ intervalS }) => {
      this.#onSlowKeyframes(intervalS);
    });
  }

  /** The rest goes on; the state and the participant say what is missing, or that it is back. */
  trackRefused(kind: 'audio' | 'video', error: ServiceError | undefined): void {
    const { room, state, logger } = this.#options;
    const reason = error?.message ?? '';
    logger.warn({ kind, reason }, error === undefined ? 'ingress track is back' : 'ingress track refused');
    state.setWarning('track', reason);
    room.setAttributes({ 'sluice.ingress.refused': reason });
  }

  /** Another encoder, or the same again: it may be set up better. */
  forget(): void {
    if (this.#slowKeyframesTold) {
      this.#slowKeyframesTold = false;
      this.#options.state.setWarning('keyframes', '');
      this.#options.room.setAttributes({ 'sluice.ingress.keyframeInterval': '' });
    }
  }

  #onSlowKeyframes(intervalS: number): void {
    const { room, state, logger } = this.#options;
    const text = `${intervalS} s apart; set the encoder to 2 s, 4 s at most`;
    if (!this.#slowKeyframesLogged) {
      this.#slowKeyframesLogged = true;
      logger.warn({ intervalS }, 'key frames of the encoder are too far apart');
    }
    this.#slowKeyframesTold = true;
    state.setWarning('keyframes', `key frames are ${text}`);
    room.setAttributes({ 'sluice.ingress.keyframeInterval': text });
  }
}
