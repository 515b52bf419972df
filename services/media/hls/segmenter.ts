import type { EncodedPacket, TrackFormat } from '../../model/packet.ts';
import { TsMuxer } from '../mux/ts-muxer.ts';

/** Where segments go; calls come in order open, append …, close. */
export type SegmentSink = {
  open(startUs: number): void;
  append(data: Buffer): void;
  close(segment: { startUs: number; durationUs: number }): void;
};

export type SegmenterOptions = {
  kinds: readonly ('video' | 'audio')[];
  segmentDurationS: number;
  sink: SegmentSink;
  /** A segment is due and no key frame is in sight. */
  requestKeyframe: () => void;
};

/** A key frame this part of a segment early is the better place to cut than the next one. */
const EARLY = 0.1;
/** The encoder's own key frame may be this late before one is asked for. */
const KEY_FRAME_PATIENCE_US = 150_000;
const ASK_AGAIN_US = 1_000_000;

/** Packets in decode order become transport stream segments that start with a key frame. */
export class Segmenter {
  readonly #options: SegmenterOptions;
  readonly #muxer: TsMuxer;
  readonly #durationUs: number;
  readonly #hasVideo: boolean;
  #startUs: number | undefined;
  #endUs = 0;
  #lastVideoUs: number | undefined;
  #askedUs = -Infinity;

  constructor(options: SegmenterOptions) {
    this.#options = options;
    this.#muxer = new TsMuxer(options.kinds);
    this.#durationUs = options.segmentDurationS * 1e6;
    this.#hasVideo = options.kinds.includes('video');
  }

  /** @throws ServiceError unimplemented for codecs other than H.264 and AAC. */
  addTrack(format: TrackFormat): void {
    this.#muxer.addTrack(format);
  }

  /** Drops pictures before the first key frame. */
  write(packet: EncodedPacket): void {
    if (packet.kind === 'video' && this.#lastVideoUs === undefined && !packet.key) {
      return;
    }
    if (this.#isCut(packet)) {
      this.#close(packet.ptsUs);
    }
    if (this.#startUs === undefined) {
      this.#startUs = packet.ptsUs;
      this.#endUs = packet.ptsUs;
      this.#options.sink.open(packet.ptsUs);
      this.#options.sink.append(this.#muxer.tables());
    }
    this.#options.sink.append(this.#muxer.mux(packet));
    this.#track(packet);
  }

  /** Closes the open segment. */
  finish(): void {
    this.#close(this.#endUs);
  }

  #isCut(packet: EncodedPacket): boolean {
    const { kind, key, ptsUs } = packet;
    if (this.#startUs === undefined) {
      return false;
    }
    const lateUs = ptsUs - (this.#startUs + this.#durationUs);
    if (kind === 'video') {
      if (key) {
        return this.#lastVideoUs === undefined || lateUs >= -EARLY * this.#durationUs;
      }
      this.#askIfDue(lateUs, ptsUs);
      return false;
    }
    // Sound cuts only where there are no pictures.
    const isPictureless =
      !this.#hasVideo || this.#lastVideoUs === undefined || ptsUs - this.#lastVideoUs > this.#durationUs;
    return isPictureless && lateUs >= 0;
  }

  #askIfDue(lateUs: number, ptsUs: number): void {
    if (lateUs > KEY_FRAME_PATIENCE_US && ptsUs - this.#askedUs > ASK_AGAIN_US) {
      this.#askedUs = ptsUs;
      this.#options.requestKeyframe();
    }
  }

  /** The last picture is shown as long as the one before it, where nobody says how long. */
  #track({ kind, ptsUs, durationUs }: EncodedPacket): void {
    const gapUs = kind === 'video' && this.#lastVideoUs !== undefined ? ptsUs - this.#lastVideoUs : 0;
    this.#endUs = Math.max(this.#endUs, ptsUs + (durationUs || Math.min(Math.max(gapUs, 0), 1e6)));
    if (kind === 'video') {
      this.#lastVideoUs = ptsUs;
    }
  }

  #close(endUs: number): void {
    const startUs = this.#startUs;
    if (startUs !== undefined) {
      this.#startUs = undefined;
      this.#options.sink.close({ startUs, durationUs: Math.max(0, endUs - startUs) });
    }
  }
}
