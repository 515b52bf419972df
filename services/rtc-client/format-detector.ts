import { NAL_TYPE, nalType, splitAnnexB } from '../media/codecs/h264.ts';
import { parseSps } from '../media/codecs/h264-sps.ts';
import { parseOpusPacket } from '../media/codecs/opus.ts';
import { parseVp8Header } from '../media/codecs/vp8.ts';
import type { AudioCodec, TrackFormat, VideoCodec } from '../model/packet.ts';

const OPUS_RATE_HZ = 48_000;

/** Reads a track's format from its frames. */
export class FormatDetector {
  readonly #codec: VideoCodec | AudioCodec;
  readonly #announced: { width: number; height: number };
  #last: TrackFormat | undefined;

  /** `announced` size is used for codecs whose headers are not read here. */
  constructor(codec: VideoCodec | AudioCodec, announced: { width: number; height: number }) {
    this.#codec = codec;
    this.#announced = { width: announced.width, height: announced.height };
  }

  /** The format when it is new or changed with this frame, else undefined. Never throws. */
  changed(frame: Uint8Array, key: boolean): TrackFormat | undefined {
    if (this.#last !== undefined && (!key || this.#last.kind === 'audio')) {
      return undefined;
    }
    const format = this.#read(frame);
    const last = this.#last;
    if (
      format === undefined ||
      (last?.kind === 'video' &&
        format.kind === 'video' &&
        last.width === format.width &&
        last.height === format.height)
    ) {
      return undefined;
    }
    this.#last = format;
    return format;
  }

  #read(frame: Uint8Array): TrackFormat | undefined {
    switch (this.#codec) {
      case 'opus':
        // Fixed by the first packet: decoders mix later mono or stereo packets to it (RFC 6716 §2).
        return { kind: 'audio', codec: 'opus', sampleRateHz: OPUS_RATE_HZ, channels: opusChannels(frame) };
      case 'h264': {
        const size = h264Size(frame);
        return size === undefined ? undefined : { kind: 'video', codec: 'h264', ...size };
      }
      case 'vp8': {
        const header = parseVp8Header(frame);
        return header?.key === true
          ? { kind: 'video', codec: 'vp8', width: header.width, height: header.height }
          : undefined;
      }
      case 'vp9':
      case 'h265':
      case 'av1':
        return { kind: 'video', codec: this.#codec, ...this.#announced };
      default:
        return undefined;
    }
  }
}

function opusChannels(packet: Uint8Array): number {
  try {
    return parseOpusPacket(packet).channels;
  } catch {
    return 2;
  }
}

function h264Size(accessUnit: Uint8Array): { width: number; height: number } | undefined {
  const sps = splitAnnexB(accessUnit).find((nal) => nalType(nal) === NAL_TYPE.sps);
  if (sps === undefined) {
    return undefined;
  }
  try {
    const { width, height } = parseSps(sps);
    return { width, height };
  } catch {
    return undefined;
  }
}
