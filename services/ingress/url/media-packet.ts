import { ServiceError } from '../../base/errors.ts';
import type { MatroskaPacket, MatroskaTrack } from '../../media/ffmpeg/matroska-reader.ts';
import { flvAudioBody, flvVideoBody } from '../../protocol/flv.ts';
import {
  enhancedVideoConfig,
  enhancedVideoFrame,
  opusBody,
  type EnhancedVideoCodec,
} from '../../protocol/flv-enhanced-body.ts';
import type { MediaSink } from '../servers/publisher-types.ts';

const VIDEO: ReadonlyMap<string, 'h264' | EnhancedVideoCodec> = new Map([
  ['V_MPEG4/ISO/AVC', 'h264'],
  ['V_MPEGH/ISO/HEVC', 'h265'],
  ['V_VP8', 'vp8'],
  ['V_VP9', 'vp9'],
  ['V_AV1', 'av1'],
]);
const AUDIO: ReadonlyMap<string, 'aac' | 'opus'> = new Map([
  ['A_AAC', 'aac'],
  ['A_OPUS', 'opus'],
]);

/** Whether a session takes the track as it is. */
export function isDeliverable({ codecId, channels }: MatroskaTrack): boolean {
  return VIDEO.has(codecId) || (AUDIO.has(codecId) && channels <= 2);
}

/** Hands packets to a session in the form an RTMP encoder would send them. */
export class PacketDelivery {
  readonly #sink: MediaSink;
  /** By track number: what was told of it last. */
  readonly #configured = new Map<number, Buffer>();
  #lastVideoMs = Number.NEGATIVE_INFINITY;

  constructor(sink: MediaSink) {
    this.#sink = sink;
  }

  /** @param timeMs presentation time on a clock that goes on from round to round. */
  deliver({ track, key, data }: MatroskaPacket, timeMs: number): void {
    if (track.kind === 'video') {
      this.#video(track, key, data, timeMs);
    } else if (track.kind === 'audio') {
      this.#audio(track, data, timeMs);
    }
  }

  #video(track: MatroskaTrack, key: boolean, data: Buffer, ptsMs: number): void {
    const codec = codecOf(VIDEO, track);
    // Matroska tells presentation times only; decoding times rise, whatever the order of the pictures.
    const dtsMs = Math.max(ptsMs, this.#lastVideoMs + 1);
    this.#lastVideoMs = dtsMs;
    const compositionMs = ptsMs - dtsMs;
    if (this.#isNew(track) && track.codecPrivate.length > 0) {
      const config = track.codecPrivate;
      this.#sink.video(
        unsigned(dtsMs),
        codec === 'h264'
          ? Buffer.concat(flvVideoBody({ packet: 'config', data: config }))
          : enhancedVideoConfig(codec, config),
      );
    }
    this.#sink.video(
      unsigned(dtsMs),
      codec === 'h264'
        ? Buffer.concat(flvVideoBody({ packet: 'frame', key, compositionMs, data }))
        : enhancedVideoFrame(codec, { key, compositionMs, data }),
    );
  }

  #audio(track: MatroskaTrack, data: Buffer, timeMs: number): void {
    const body = (packet: 'config' | 'frame', bytes: Uint8Array): Buffer =>
      codecOf(AUDIO, track) === 'opus'
        ? opusBody(packet, bytes)
        : Buffer.concat(flvAudioBody({ packet, data: bytes }));
    if (this.#isNew(track)) {
      this.#sink.audio(unsigned(timeMs), body('config', track.codecPrivate));
    }
    this.#sink.audio(unsigned(timeMs), body('frame', data));
  }

  #isNew({ number, codecPrivate }: MatroskaTrack): boolean {
    if (this.#configured.get(number)?.equals(codecPrivate) === true) {
      return false;
    }
    this.#configured.set(number, codecPrivate);
    return true;
  }
}

function codecOf<T>(codecs: ReadonlyMap<string, T>, { codecId }: MatroskaTrack): T {
  const codec = codecs.get(codecId);
  if (codec === undefined) {
    throw new ServiceError('unimplemented', `the input has ${codecId}, which cannot be played`);
  }
  return codec;
}

function unsigned(timeMs: number): number {
  return Math.round(timeMs) >>> 0;
}
