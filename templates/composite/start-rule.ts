/** Sound alone starts a recording after this long, in case a picture is about to follow. */
const AUDIO_ONLY_AFTER_MS = 500;
/** A picture that stands still starts one after this long; a slide share may send a frame a second. */
const STILL_PICTURE_AFTER_MS = 700;
/** Anything subscribed starts a recording after this long, even when its picture never decodes. */
const AT_LATEST_AFTER_MS = 5_000;

export type StartFacts = {
  /** A tile shows frame after frame. */
  isFlowing: boolean;
  /** How long a first frame has been shown; undefined before. */
  pictureForMs: number | undefined;
  /** Somebody publishes video, shown or not. */
  hasVideo: boolean;
  /** How long at least one track has been subscribed; undefined while there is none. */
  subscribedForMs: number | undefined;
};

/**
 * When a composite may start: with the first picture, once it moves or a moment has passed; without video shortly
 * after the first sound; in any case some seconds after the first subscription. While nobody publishes it never
 * starts: the egress gives up by its own timeout, as with LiveKit's template.
 */
export function mayStart({ isFlowing, pictureForMs, hasVideo, subscribedForMs }: StartFacts): boolean {
  if (isFlowing || (pictureForMs ?? 0) >= STILL_PICTURE_AFTER_MS) {
    return true;
  }
  if (subscribedForMs === undefined) {
    return false;
  }
  return subscribedForMs >= (hasVideo ? AT_LATEST_AFTER_MS : AUDIO_ONLY_AFTER_MS);
}
