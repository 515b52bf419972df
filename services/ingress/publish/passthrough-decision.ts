import { sliceType } from '../../media/codecs/h264.ts';
import type { IngressSettings } from '../../model/ingress.ts';
import type { VideoCodec } from '../../model/packet.ts';
import type { StreamHeader } from './video-bitstream.ts';

/**
 * `undecided`: the header allows reordering and does not say whether it is used, so the first frames tell.
 */
export type VideoVerdict =
  { mode: 'undecided' } | { mode: 'passthrough' } | { mode: 'transcode'; reason: string };

/** `lower`: where the simulcast layers below a picture that passes come from; absent: there are none. */
export type PublishedVerdict =
  { mode: 'passthrough'; lower?: 'encoded' | 'tracks' } | { mode: 'transcode'; reason: string };

/** For people: `passthrough`, or `transcode` and why. */
export function describeVerdict(verdict: PublishedVerdict): string {
  if (verdict.mode === 'transcode') {
    return `transcode: ${verdict.reason}`;
  }
  const lower = { encoded: ', lower layers encoded', tracks: ' of several tracks' } as const;
  return `passthrough${verdict.lower === undefined ? '' : lower[verdict.lower]}`;
}

/** Frames that are looked at before an undecided stream passes: the longest usual run up to the first B-frame. */
const PROBE_FRAMES = 4;

const CODEC_NAMES: Readonly<Record<VideoCodec, string>> = {
  h264: 'H.264',
  h265: 'HEVC',
  vp8: 'VP8',
  vp9: 'VP9',
  av1: 'AV1',
};

/**
 * Whether a stream can go into a WebRTC room untouched: browsers must be able to decode it, they cannot reorder, and
 * it must be what the endpoint asks for.
 */
export class PassthroughDecision {
  readonly #settings: IngressSettings['video'];
  readonly #codec: VideoCodec;
  #verdict: VideoVerdict = { mode: 'undecided' };
  #reorderingSaid: boolean | undefined;
  #frames = 0;
  #lastDtsUs = -Infinity;
  #latestPtsUs = -Infinity;

  constructor(settings: IngressSettings['video'], codec: VideoCodec = 'h264') {
    this.#settings = settings;
    this.#codec = codec;
  }

  get verdict(): VideoVerdict {
    return this.#verdict;
  }

  /** Call for every new header. Once a stream is transcoded it stays so. */
  onHeader(header: StreamHeader): VideoVerdict {
    const reason =
      header.obstacle ?? codecReason(this.#settings, this.#codec) ?? sizeReason(this.#settings, header);
    this.#reorderingSaid = header.reordering;
    if (this.#verdict.mode !== 'transcode') {
      if (reason !== undefined || header.reordering === true) {
        this.#verdict = { mode: 'transcode', reason: reason ?? 'B-frames' };
      } else if (header.reordering === false) {
        this.#verdict = { mode: 'passthrough' };
      }
    }
    return this.#verdict;
  }

  /** Call for every access unit, in decoding order. `nals` of H.264, [] of others. */
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

/** Why this codec cannot pass; undefined when it can. HEVC does only where the endpoint forbids transcoding. */
function codecReason(settings: IngressSettings['video'], codec: VideoCodec): string | undefined {
  if (settings.targetIsLimit && codec !== settings.codec) {
    return `${CODEC_NAMES[codec]} is not the requested ${CODEC_NAMES[settings.codec]}`;
  }
  return codec === 'h265' && settings.mayTranscode ? 'HEVC, which not every browser decodes' : undefined;
}

/** Why a picture of this size cannot pass; undefined when it can. */
export function sizeReason(
  limit: Pick<IngressSettings['video'], 'target' | 'targetIsLimit'>,
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
