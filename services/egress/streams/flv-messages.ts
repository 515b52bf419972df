import { ServiceError } from '../../base/errors.ts';
import { buildAvcConfig } from '../../media/codecs/h264-avcc.ts';
import {
  joinLengthPrefixed,
  NAL_TYPE,
  nalType,
  splitAnnexB,
  withoutDelimiters,
} from '../../media/codecs/h264.ts';
import { parseSps } from '../../media/codecs/h264-sps.ts';
import type { AudioFormat, EncodedPacket, TrackFormat, VideoFormat } from '../../model/packet.ts';
import { amfObject, type AmfObject } from '../../protocol/amf0.ts';
import { flvAudioBody, flvVideoBody } from '../../protocol/flv.ts';
import type { FlvMessage } from './stream-link.ts';

/** Without pictures for so long, sound goes on alone. */
const PICTURE_TIMEOUT_US = 10_000_000;

/** Turns packets into FLV bodies, once for all destinations. */
export class FlvMessages {
  #video: { format: VideoFormat; parameterSets: Buffer; config: FlvMessage['config'] } | undefined;
  #videoFormat: VideoFormat | undefined;
  #audio: { format: AudioFormat; config: FlvMessage['config'] } | undefined;
  #lastPictureUs: number | undefined;
  readonly #expectsPictures: boolean;

  constructor(kinds: readonly FlvMessage['kind'][]) {
    this.#expectsPictures = kinds.includes('video');
  }

  /** @throws ServiceError unimplemented for codecs that streams do not carry. */
  addTrack(format: TrackFormat): void {
    if (format.kind === 'video') {
      if (format.codec !== 'h264') {
        throw wrongCodec(format.codec);
      }
      this.#videoFormat = format;
      return;
    }
    const { codec, description } = format;
    if (codec !== 'aac' || description === undefined) {
      throw wrongCodec(codec);
    }
    const config = flvAudioBody({ packet: 'config', data: description });
    const known = this.#audio?.config[1];
    if (known === undefined || Buffer.compare(known, description) !== 0) {
      this.#audio = { format, config };
    }
  }

  /** undefined when no decoder could use the packet: its track is unknown, or pictures before the first key frame. */
  build(packet: EncodedPacket): FlvMessage | undefined {
    return packet.kind === 'video' ? this.#picture(packet) : this.#sound(packet);
  }

  /** onMetaData (annex E.5) of the tracks known now. */
  metadata(): AmfObject {
    const video = this.#video?.format ?? this.#videoFormat;
    const audio = this.#audio?.format;
    return amfObject({
      ...(video === undefined ? {} : { width: video.width, height: video.height, videocodecid: 7 }),
      ...(audio === undefined
        ? {}
        : {
            audiocodecid: 10,
            audiosamplerate: audio.sampleRateHz,
            audiosamplesize: 16,
            audiochannels: audio.channels,
            stereo: audio.channels === 2,
          }),
      encoder: 'Sluice',
    });
  }

  #picture(packet: EncodedPacket): FlvMessage | undefined {
    const nals = withoutDelimiters(splitAnnexB(packet.data));
    if (packet.key) {
      this.#readParameterSets(nals);
    }
    const config = this.#video?.config;
    const slices = nals.filter((nal) => nalType(nal) !== NAL_TYPE.sps && nalType(nal) !== NAL_TYPE.pps);
    if (config === undefined || slices.length === 0) {
      return undefined;
    }
    this.#lastPictureUs = packet.dtsUs;
    const body = flvVideoBody({
      packet: 'frame',
      key: packet.key,
      compositionMs: Math.round(packet.ptsUs / 1000) - Math.round(packet.dtsUs / 1000),
      data: joinLengthPrefixed(slices),
    });
    return message('video', packet.key, packet.dtsUs, body, config);
  }

  #sound(packet: EncodedPacket): FlvMessage | undefined {
    if (this.#audio === undefined) {
      return undefined;
    }
    const body = flvAudioBody({ packet: 'frame', data: packet.data });
    this.#lastPictureUs ??= packet.dtsUs;
    const isAlone = !this.#expectsPictures || packet.dtsUs - this.#lastPictureUs > PICTURE_TIMEOUT_US;
    return message('audio', isAlone, packet.dtsUs, body, this.#audio.config);
  }

  /** Parameter sets travel outside the pictures in FLV; new ones make a new configuration. */
  #readParameterSets(nals: readonly Uint8Array[]): void {
    const sps = nals.filter((nal) => nalType(nal) === NAL_TYPE.sps);
    const pps = nals.filter((nal) => nalType(nal) === NAL_TYPE.pps);
    const [first] = sps;
    if (first === undefined || pps.length === 0) {
      return;
    }
    const parameterSets = Buffer.concat([...sps, ...pps]);
    if (this.#video?.parameterSets.equals(parameterSets) === true) {
      return;
    }
    try {
      const { width, height } = parseSps(first);
      const data = buildAvcConfig(sps, pps);
      this.#video = {
        format: { kind: 'video', codec: 'h264', width, height },
        parameterSets,
        config: flvVideoBody({ packet: 'config', data }),
      };
    } catch {
      // A key frame no decoder could read: the pictures go on with what was good before.
    }
  }
}

function message(
  kind: FlvMessage['kind'],
  startsDecoding: boolean,
  dtsUs: number,
  body: FlvMessage['body'],
  config: FlvMessage['config'],
): FlvMessage {
  const bytes = body.reduce((sum, piece) => sum + piece.length, 0);
  return { kind, startsDecoding, dtsUs, body, bytes, config };
}

function wrongCodec(codec: string): ServiceError {
  return new ServiceError('unimplemented', `streams carry H.264 and AAC, not ${codec}`);
}
