import type { Logger } from '../base/logger.ts';
import { describeVerdict } from './publish/passthrough-decision.ts';
import type { RoomPublisher } from './room-publisher.ts';
import type { SessionMedia } from './session-media.ts';

/** Says in the participant's attributes what is done with the picture, and what is wrong with it. */
export function noticeInRoom(
  media: Pick<SessionMedia, 'events'>,
  room: Pick<RoomPublisher, 'setAttributes'>,
  logger: Logger,
): void {
  let isLogged = false;
  media.events.on('verdict', (verdict) => {
    const text = describeVerdict(verdict);
    logger.info({ video: text }, 'ingress video decided');
    room.setAttributes({ 'sluice.ingress.video': text });
  });
  media.events.on('slowKeyframes', ({ intervalS }) => {
    const text = `${intervalS} s; set the encoder to 2 s, 4 s at most`;
    if (!isLogged) {
      isLogged = true;
      logger.warn({ intervalS }, 'key frames of the encoder are too far apart');
    }
    room.setAttributes({ 'sluice.ingress.keyframeInterval': text });
  });
}
