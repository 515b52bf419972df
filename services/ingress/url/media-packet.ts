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

export type DeliveryTime = {
  decodingMs: number;
  /** From decoding to presentation; default: 0. */
  compositionMs?: number;
  /** On this machine's monotonic clock; default: now. */
  arrivalUs?: number;
};

/** Hands packets to a session in the form an RTMP encoder would send them. */
export class PacketDelivery {
  readonly #sink: MediaSink;
  /** By track number: what was told of it last. */
  readonly #configured = new Map<number, Buffer>();

  constructor(sink: MediaSink) {
    this.#sink = sink;
  }

  /** @param time its decoding time, on a clock that goes on from round to round. */
  deliver({ track, key, data }: MatroskaPacket, time: DeliveryTime): void {
    if (track.kind === 'video') {
      this.#video(track, key, data, time);
    } else if (track.kind === 'audio') {
      this.#audio(track, data, time);
    }
  }

  #video(track: MatroskaTrack, key: boolean, data: Buffer, time: DeliveryTime): void {
    const timeMs = unsigned(time.decodingMs);
    const compositionMs = Math.round(time.compositionMs ?? 0);
    const codec = codecOf(VIDEO, track);
    if (this.#isNew(track) && track.codecPrivate.length > 0) {
      const config = track.codecPrivate;
      this.#sink.video(
        timeMs,
        codec === 'h264'
          ? Buffer.concat(flvVideoBody({ packet: 'config', data: config }))
          : enhancedVideoConfig(codec, config),
        time.arrivalUs,
      );
    }
    this.#sink.video(
      timeMs,
      codec === 'h264'
        ? Buffer.concat(flvVideoBody({ packet: 'frame', key, compositionMs, data }))
        : enhancedVideoFrame(codec, { key, compositionMs, data }),
      time.arrivalUs,
    );
  }

  #audio(track: MatroskaTrack, data: Buffer, { decodingMs, arrivalUs }: DeliveryTime): void {
    const timeMs = unsigned(decodingMs);
    const body = (packet: 'config' | 'frame', bytes: Uint8Array): Buffer =>
      codecOf(AUDIO, track) === 'opus'
        ? opusBody(packet, bytes)
        : Buffer.concat(flvAudioBody({ packet, data: bytes }));
    if (this.#isNew(track)) {
      this.#sink.audio(timeMs, body('config', track.codecPrivate), arrivalUs);
    }
    this.#sink.audio(timeMs, body('frame', data), arrivalUs);
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
