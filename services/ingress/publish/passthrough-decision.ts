import { sliceType } from '../../media/codecs/h264.ts';
import type { SpsInfo } from '../../media/codecs/h264-sps.ts';
import type { IngressSettings } from '../../model/ingress.ts';

/**
 * `undecided`: the parameter set allows reordering and does not say whether it is used, so the first frames tell.
 */
export type VideoVerdict =
  { mode: 'undecided' } | { mode: 'passthrough' } | { mode: 'transcode'; reason: string };

/** Frames that are looked at before an undecided stream passes: the longest usual run up to the first B-frame. */
const PROBE_FRAMES = 4;
const BASELINE = 66;

/**
 * Whether H.264 can go into a WebRTC room untouched. Browsers decode every 8-bit 4:2:0 progressive profile, whatever
 * the SDP says; they cannot reorder, and they show fields as they come.
 */
export class PassthroughDecision {
  readonly #limit: IngressSettings['video'];
  #verdict: VideoVerdict = { mode: 'undecided' };
  #reorderingSaid: boolean | undefined;
  #frames = 0;
  #lastDtsUs = -Infinity;
  #latestPtsUs = -Infinity;

  constructor(settings: IngressSettings['video']) {
    this.#limit = settings;
  }

  get verdict(): VideoVerdict {
    return this.#verdict;
  }

  /** Call for every new sequence parameter set. Once a stream is transcoded it stays so. */
  onSps(sps: SpsInfo): VideoVerdict {
    const reason = spsReason(sps) ?? sizeReason(this.#limit, sps);
    this.#reorderingSaid = reorderingFrom(sps);
    if (this.#verdict.mode !== 'transcode') {
      if (reason !== undefined || this.#reorderingSaid === true) {
        this.#verdict = { mode: 'transcode', reason: reason ?? 'B-frames' };
      } else if (this.#reorderingSaid === false) {
        this.#verdict = { mode: 'passthrough' };
      }
    }
    return this.#verdict;
  }

  /** Call for every access unit, in decoding order. */
  onFrame(frame: { dtsUs: number; ptsUs: number; nals: readonly Uint8Array[] }): VideoVerdict {
    if (this.#verdict.mode === 'transcode') {
      return this.#verdict;
    }
    const clockWentOn = frame.dtsUs >= this.#lastDtsUs;
    const steppedBack = clockWentOn && frame.ptsUs < this.#latestPtsUs;
    this.#lastDtsUs = frame.dtsUs;
    this.#latestPtsUs = clockWentOn ? Math.max(frame.ptsUs, this.#latestPtsUs) : frame.ptsUs;
    this.#frames++;
    const bSlice = this.#reorderingSaid === undefined && frame.nals.some((nal) => sliceType(nal) === 'B');
    if (steppedBack || bSlice) {
      this.#verdict = { mode: 'transcode', reason: 'B-frames' };
    } else if (this.#verdict.mode === 'undecided' && this.#frames >= PROBE_FRAMES) {
      this.#verdict = { mode: 'passthrough' };
    }
    return this.#verdict;
  }
}

/** Why a picture of this size cannot pass; undefined when it can. */
export function sizeReason(
  limit: IngressSettings['video'],
  size: { width: number; height: number },
): string | undefined {
  const { target, targetIsLimit } = limit;
  const fits =
    (size.width <= target.width && size.height <= target.height) ||
    (size.width <= target.height && size.height <= target.width);
  return targetIsLimit && !fits
    ? `${size.width}x${size.height} is larger than the requested ${target.width}x${target.height}`
    : undefined;
}

function spsReason(sps: SpsInfo): string | undefined {
  if (sps.chromaFormat !== '4:2:0') {
    return `${sps.chromaFormat} chroma`;
  }
  if (sps.bitDepthLuma !== 8 || sps.bitDepthChroma !== 8) {
    return `${Math.max(sps.bitDepthLuma, sps.bitDepthChroma)}-bit samples`;
  }
  return sps.progressive ? undefined : 'interlaced';
}

/** Undefined when the parameter set leaves it open. */
function reorderingFrom(sps: SpsInfo): boolean | undefined {
  if (sps.profileIdc === BASELINE || sps.pictureOrderCountType === 2) {
    return false;
  }
  return sps.maxReorderFrames === undefined ? undefined : sps.maxReorderFrames > 0;
}
