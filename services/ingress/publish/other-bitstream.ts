import { av1SequenceSize, completeTemporalUnit, parseAv1Config } from '../../media/codecs/av1.ts';
import { joinAnnexB, splitLengthPrefixed, type NalLengthSize } from '../../media/codecs/h264.ts';
import { H265_NAL_TYPE, h265NalType, parseHevcConfig, parseHevcSpsSize } from '../../media/codecs/h265.ts';
import { parseVp8Header } from '../../media/codecs/vp8.ts';
import { parseVp9KeyHeader } from '../../media/codecs/vp9.ts';
import type { VideoCodec } from '../../model/packet.ts';

export type PictureSize = { width: number; height: number };

/** What Enhanced RTMP leaves out of a stream is put back; sizes are read on the way. */
export type OtherBitstream = {
  /** The sequence start. @throws ServiceError malformed */
  configure(data: Uint8Array): void;
  /** One frame as decoders and packetizers take it; undefined before it can be decoded. @throws ServiceError malformed */
  complete(data: Uint8Array, key: boolean): Uint8Array | undefined;
  /** Undefined until the stream has told it. */
  readonly size: PictureSize | undefined;
  /** Why a room cannot get it as it is; undefined when it can. */
  readonly obstacle: string | undefined;
};

export function createOtherBitstream(codec: Exclude<VideoCodec, 'h264'>): OtherBitstream {
  switch (codec) {
    case 'h265':
      return new HevcBitstream();
    case 'av1':
      return new Av1Bitstream();
    case 'vp8':
    case 'vp9':
      return new VpxBitstream(codec);
  }
}

class HevcBitstream implements OtherBitstream {
  readonly obstacle = 'HEVC, which not every browser decodes';
  size: PictureSize | undefined;
  #lengthSize: NalLengthSize = 4;
  #parameterSets: readonly Uint8Array[] = [];

  configure(data: Uint8Array): void {
    const config = parseHevcConfig(data);
    this.#lengthSize = config.lengthSize;
    this.#parameterSets = config.parameterSets;
    const sps = config.parameterSets.find((nal) => h265NalType(nal) === H265_NAL_TYPE.sps);
    this.size = sps === undefined ? this.size : parseHevcSpsSize(sps);
  }

  complete(data: Uint8Array, key: boolean): Uint8Array | undefined {
    const nals = splitLengthPrefixed(data, this.#lengthSize);
    const inBand = nals.some((nal) => h265NalType(nal) === H265_NAL_TYPE.sps);
    if (!inBand && this.#parameterSets.length === 0) {
      return undefined;
    }
    return joinAnnexB(key && !inBand ? [...this.#parameterSets, ...nals] : nals);
  }
}

class Av1Bitstream implements OtherBitstream {
  /** Browsers decode nothing but 8-bit 4:2:0. */
  obstacle: string | undefined;
  size: PictureSize | undefined;
  #configObus: Uint8Array = new Uint8Array(0);

  configure(data: Uint8Array): void {
    const { profile, bitDepth, obus } = parseAv1Config(data);
    this.#configObus = obus;
    this.obstacle =
      profile > 0 ? `AV1 profile ${profile}` : bitDepth > 8 ? `${bitDepth}-bit samples` : undefined;
    this.size = av1SequenceSize(this.#configObus) ?? this.size;
  }

  complete(data: Uint8Array, key: boolean): Uint8Array {
    const unit = completeTemporalUnit(data, key, this.#configObus);
    if (key) {
      this.size = av1SequenceSize(unit) ?? this.size;
    }
    return unit;
  }
}

class VpxBitstream implements OtherBitstream {
  size: PictureSize | undefined;
  obstacle: string | undefined;
  readonly #codec: 'vp8' | 'vp9';

  constructor(codec: 'vp8' | 'vp9') {
    this.#codec = codec;
  }

  /** vpcC repeats what every key frame says. */
  configure(): void {
    // nothing to keep
  }

  complete(data: Uint8Array, key: boolean): Uint8Array {
    if (key && this.#codec === 'vp8') {
      const header = parseVp8Header(data);
      this.size = header?.key === true ? header : this.size;
    } else if (key) {
      const header = parseVp9KeyHeader(data);
      this.size = header ?? this.size;
      this.obstacle =
        header !== undefined && header.profile > 0 ? `VP9 profile ${header.profile}` : undefined;
    }
    return data;
  }
}
