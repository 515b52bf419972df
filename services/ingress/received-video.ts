import { SafeEmitter } from '../base/events.ts';
import type { Logger } from '../base/logger.ts';
import { NAL_TYPE, nalType, splitAnnexB, withoutDelimiters } from '../media/codecs/h264.ts';
import { parseSps } from '../media/codecs/h264-sps.ts';
import { av1SequenceSize } from '../media/codecs/av1.ts';
import { H265_NAL_TYPE, h265NalType, parseHevcSps } from '../media/codecs/h265.ts';
import { parseVp8Header } from '../media/codecs/vp8.ts';
import { parseVp9KeyHeader } from '../media/codecs/vp9.ts';
import type { IngressSettings } from '../model/ingress.ts';
import type { EncodedPacket, VideoCodec, VideoFormat } from '../model/packet.ts';
import { clampLayer } from '../model/track.ts';
import { fitLayerCount, fitLayers } from './publish/simulcast-layers.ts';
import { VideoOutput } from './publish/video-output.ts';
import { VideoTranscoder, type VideoTranscoderInput } from './publish/video-transcoder.ts';

export type ReceivedVideoEvents = {
  /** Before the first packet. */
  format: VideoFormat;
  packet: EncodedPacket;
  failed: { error: Error };
};

type Size = { width: number; height: number };

/** A picture as a receiver of a room gets it, in any codec, in; what the endpoint asks for out. */
export class ReceivedVideo {
  readonly events: SafeEmitter<ReceivedVideoEvents>;
  readonly #options: { ffmpegPath: string; settings: IngressSettings['video']; logger: Logger };
  readonly #output: VideoOutput;
  #source: VideoFormat | undefined;
  /** What the running transcoder was started for. */
  #startedFor = '';
  #transcoder: VideoTranscoder | undefined;
  #closed = false;

  constructor(options: { ffmpegPath: string; settings: IngressSettings['video']; logger: Logger }) {
    this.#options = options;
    this.events = new SafeEmitter(options.logger);
    this.#output = new VideoOutput({
      onFormat: (format) => this.events.emit('format', format),
      onPacket: (packet) => this.events.emit('packet', packet),
    });
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
    this.#transcoder?.write({ dtsUs: ptsUs, ptsUs, nals, key, data });
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#transcoder?.close();
  }

  /** Senders change size and parameters as they like, at a key frame: that needs a decoder and an encoder anew. */
  #startFor({ codec }: VideoFormat, data: Uint8Array, nals: readonly Uint8Array[]): void {
    let input: VideoTranscoderInput;
    let startedFor: string;
    let size: Size | undefined;
    if (codec === 'h264') {
      const sps = nals.filter((nal) => nalType(nal) === NAL_TYPE.sps);
      const pps = nals.filter((nal) => nalType(nal) === NAL_TYPE.pps);
      const [first] = sps;
      if (first === undefined || pps.length === 0) {
        return;
      }
      size = parseSps(first);
      input = { parameterSets: { sps, pps } };
      startedFor = Buffer.concat(sps).toString('base64');
    } else {
      size = sizeOfKeyframe(codec, data);
      input = { codec, width: size?.width ?? 0, height: size?.height ?? 0 };
      startedFor = `${codec} ${input.width}x${input.height}`;
    }
    if (size === undefined || startedFor === this.#startedFor) {
      return;
    }
    this.#startedFor = startedFor;
    this.#retire(this.#transcoder);
    this.#transcoder = this.#start(input, size);
  }

  #start(input: VideoTranscoderInput, size: Size): VideoTranscoder {
    const { ffmpegPath, settings, logger } = this.#options;
    const { codec, target, layers: asked } = settings;
    const isNew = this.#output.codec === undefined;
    const layers = isNew ? fitLayers(asked, size) : fitLayerCount(asked, size, this.#output.layerCount);
    if (isNew) {
      this.#output.publish(codec, layers);
    }
    const wanted = { codec, framerate: target.framerate, layers };
    const transcoder = new VideoTranscoder({ ffmpegPath, target: wanted, logger, ...input });
    transcoder.events.on('frame', (frame) => {
      this.#output.write(clampLayer(frame.index), frame);
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
      return sps === undefined ? undefined : parseHevcSps(sps);
    }
  }
}
