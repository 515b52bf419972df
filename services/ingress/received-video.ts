import { SafeEmitter } from '../base/events.ts';
import type { Logger } from '../base/logger.ts';
import { NAL_TYPE, nalType, splitAnnexB, withoutDelimiters } from '../media/codecs/h264.ts';
import { parseSps } from '../media/codecs/h264-sps.ts';
import { av1SequenceSize } from '../media/codecs/av1.ts';
import { H265_NAL_TYPE, h265NalType, parseHevcSpsSize } from '../media/codecs/h265.ts';
import { parseVp8Header } from '../media/codecs/vp8.ts';
import { parseVp9KeyHeader } from '../media/codecs/vp9.ts';
import type { VideoTarget } from '../model/ingress.ts';
import type { EncodedPacket, VideoCodec, VideoFormat } from '../model/packet.ts';
import { MonotonicTime } from './publish/encoder-clock.ts';
import { VideoTranscoder, type VideoTranscoderInput } from './publish/video-transcoder.ts';

export type ReceivedVideoEvents = {
  /** Before the first packet. */
  format: VideoFormat;
  packet: EncodedPacket;
  failed: { error: Error };
};

/** A picture as a receiver of a room gets it, in any codec, in; H.264 of the wanted size out. */
export class ReceivedVideo {
  readonly events: SafeEmitter<ReceivedVideoEvents>;
  readonly #options: { ffmpegPath: string; target: VideoTarget; logger: Logger };
  readonly #time = new MonotonicTime();
  #source: VideoFormat | undefined;
  /** What the running transcoder was started for. */
  #startedFor = '';
  #transcoder: VideoTranscoder | undefined;
  #published = false;
  #closed = false;

  constructor(options: { ffmpegPath: string; target: VideoTarget; logger: Logger }) {
    this.#options = options;
    this.events = new SafeEmitter(options.logger);
  }

  setFormat(format: VideoFormat): void {
    this.#source = format;
  }

  write(packet: EncodedPacket): void {
    const source = this.#source;
    if (source === undefined || this.#closed) {
      return;
    }
    const nals = source.codec === 'h264' ? withoutDelimiters(splitAnnexB(packet.data)) : [];
    if (packet.key) {
      this.#startFor(source, packet.data, nals);
    }
    const { ptsUs, key, data } = packet;
    this.#transcoder?.write({ dtsUs: ptsUs, ptsUs, unit: { nals, key, data } });
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#transcoder?.close();
  }

  /** Senders change size and parameters as they like, at a key frame: that needs a decoder and an encoder anew. */
  #startFor({ codec }: VideoFormat, data: Uint8Array, nals: readonly Uint8Array[]): void {
    let input: VideoTranscoderInput;
    let startedFor: string;
    if (codec === 'h264') {
      const sps = nals.filter((nal) => nalType(nal) === NAL_TYPE.sps);
      const pps = nals.filter((nal) => nalType(nal) === NAL_TYPE.pps);
      if (sps.length === 0 || pps.length === 0) {
        return;
      }
      input = { parameterSets: { sps, pps } };
      startedFor = Buffer.concat(sps).toString('base64');
    } else {
      const { width, height } = sizeOfKeyframe(codec, data) ?? { width: 0, height: 0 };
      input = { codec, width, height };
      startedFor = `${codec} ${width}x${height}`;
    }
    if (startedFor === this.#startedFor) {
      return;
    }
    this.#startedFor = startedFor;
    this.#retire(this.#transcoder);
    this.#transcoder = this.#start(input);
  }

  #start(input: VideoTranscoderInput): VideoTranscoder {
    const { ffmpegPath, target, logger } = this.#options;
    const transcoder = new VideoTranscoder({ ffmpegPath, target, logger, ...input });
    transcoder.events.on('frame', ({ ptsUs, unit, sps }) => {
      if (!this.#published) {
        if (!unit.key) {
          return;
        }
        this.#published = true;
        const { width, height } = parseSps(sps);
        this.events.emit('format', { kind: 'video', codec: 'h264', width, height });
      }
      const timeUs = this.#time.next(ptsUs);
      const { key, data } = unit;
      this.events.emit('packet', { kind: 'video', ptsUs: timeUs, dtsUs: timeUs, durationUs: 0, key, data });
    });
    transcoder.events.on('closed', ({ error }) => {
      if (error !== undefined && transcoder === this.#transcoder && !this.#closed) {
        this.events.emit('failed', { error });
      }
    });
    return transcoder;
  }

  #retire(transcoder: VideoTranscoder | undefined): void {
    transcoder?.close().catch((error: unknown) => {
      this.#options.logger.warn({ err: error }, 'video transcoder did not close');
    });
  }
}

function sizeOfKeyframe(
  codec: Exclude<VideoCodec, 'h264'>,
  data: Uint8Array,
): { width: number; height: number } | undefined {
  switch (codec) {
    case 'vp8': {
      const header = parseVp8Header(data);
      return header?.key === true ? header : undefined;
    }
    case 'vp9':
      return parseVp9KeyHeader(data);
    case 'av1':
      return av1SequenceSize(data);
    case 'h265': {
      const sps = splitAnnexB(data).find((nal) => h265NalType(nal) === H265_NAL_TYPE.sps);
      return sps === undefined ? undefined : parseHevcSpsSize(sps);
    }
  }
}
