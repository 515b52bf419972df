import { parseAvcConfig } from '../../media/codecs/h264-avcc.ts';
import { parseSps } from '../../media/codecs/h264-sps.ts';
import type { MatroskaPacket } from '../../media/ffmpeg/matroska-reader.ts';

const SHORTEST_STEP_US = 1_000;
/** Of a picture whose rate is not told; a longer one than needed only makes decoding times earlier. */
const LONGEST_PICTURE_US = 67_000;

/**
 * Decoding times of packets that come in decoding order and tell when they are presented. They rise, and lie before the
 * presentation by as much as reordering takes: what the header says, more once that turns out to be too little.
 */
export class DecodingTimes {
  #header: Buffer | undefined;
  #leadUs = 0;
  #lastUs = Number.NEGATIVE_INFINITY;

  /** @returns µs. @throws ServiceError malformed when a header is. */
  next({ track, ptsUs }: MatroskaPacket): number {
    if (track.kind !== 'video') {
      return ptsUs;
    }
    if (track.codecId === 'V_MPEG4/ISO/AVC' && this.#header?.equals(track.codecPrivate) !== true) {
      this.#header = track.codecPrivate;
      this.#leadUs = Math.max(this.#leadUs, reorderingUs(track.codecPrivate));
    }
    const dtsUs = Math.max(ptsUs - this.#leadUs, this.#lastUs + SHORTEST_STEP_US);
    this.#leadUs += Math.max(0, dtsUs - ptsUs);
    this.#lastUs = dtsUs;
    return dtsUs;
  }
}

function reorderingUs(avcConfig: Uint8Array): number {
  const [nal] = avcConfig.length === 0 ? [] : parseAvcConfig(avcConfig).sps;
  if (nal === undefined) {
    return 0;
  }
  const { maxReorderFrames = 0, framerate } = parseSps(nal);
  const pictureUs = framerate === undefined ? LONGEST_PICTURE_US : 1e6 / framerate;
  return maxReorderFrames * Math.min(pictureUs, LONGEST_PICTURE_US);
}
