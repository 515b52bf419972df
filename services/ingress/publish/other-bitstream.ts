import { av1SequenceSize, completeTemporalUnit, parseAv1Config } from '../../media/codecs/av1.ts';
import { joinAnnexB, splitLengthPrefixed, type NalLengthSize } from '../../media/codecs/h264.ts';
import { H265_NAL_TYPE, h265NalType, parseHevcConfig, parseHevcSps } from '../../media/codecs/h265.ts';
import { parseVp8Header } from '../../media/codecs/vp8.ts';
import { parseVp9KeyHeader } from '../../media/codecs/vp9.ts';
import type { VideoCodec } from '../../model/packet.ts';
import { sampleObstacle } from './sample-format.ts';
import type { CodedPicture, StreamHeader, VideoBitstream } from './video-bitstream.ts';

type PictureSize = { width: number; height: number };

/** All codecs of Enhanced RTMP but H.264. */
export function createOtherBitstream(codec: Exclude<VideoCodec, 'h264'>): VideoBitstream {
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

/** The header as it was, unless something in it is another. */
function updated(
  header: StreamHeader | undefined,
  { width, height }: PictureSize,
  rest: Pick<StreamHeader, 'obstacle' | 'reordering'>,
): StreamHeader {
  const isSame = header?.width === width && header.height === height && header.obstacle === rest.obstacle;
  return isSame ? header : { width, height, ...rest };
}

class HevcBitstream implements VideoBitstream {
  readonly codec = 'h265';
  header: StreamHeader | undefined;
  #lengthSize: NalLengthSize = 4;
  #parameterSets: readonly Uint8Array[] = [];

  configure(data: Uint8Array): void {
    const config = parseHevcConfig(data);
    this.#lengthSize = config.lengthSize;
    this.#parameterSets = config.parameterSets;
    this.#readHeader(config.parameterSets);
  }

  complete(data: Uint8Array, key: boolean): CodedPicture | undefined {
    const nals = splitLengthPrefixed(data, this.#lengthSize);
    const inBand = this.#readHeader(nals);
    if (!inBand && this.#parameterSets.length === 0) {
      return undefined;
    }
    return { key, nals: [], data: joinAnnexB(key && !inBand ? [...this.#parameterSets, ...nals] : nals) };
  }

  #readHeader(nals: readonly Uint8Array[]): boolean {
    const sps = nals.find((nal) => h265NalType(nal) === H265_NAL_TYPE.sps);
    if (sps !== undefined) {
      const info = parseHevcSps(sps);
      this.header = updated(this.header, info, {
        obstacle: sampleObstacle(info),
        // Encoders without B-frames are known to say that they may reorder: then the first pictures tell.
        reordering: info.maxReorderPictures === 0 ? false : undefined,
      });
    }
    return sps !== undefined;
  }
}

class Av1Bitstream implements VideoBitstream {
  readonly codec = 'av1';
  header: StreamHeader | undefined;
  /** Browsers decode nothing but 8-bit 4:2:0. */
  #obstacle: string | undefined;
  #configObus: Uint8Array = new Uint8Array(0);

  configure(data: Uint8Array): void {
    const { profile, bitDepth, obus } = parseAv1Config(data);
    this.#configObus = obus;
    this.#obstacle =
      profile > 0 ? `AV1 profile ${profile}` : bitDepth > 8 ? `${bitDepth}-bit samples` : undefined;
    this.#readHeader(obus);
  }

  complete(data: Uint8Array, key: boolean): CodedPicture {
    const unit = completeTemporalUnit(data, key, this.#configObus);
    if (key) {
      this.#readHeader(unit);
    }
    return { key, nals: [], data: unit };
  }

  #readHeader(obus: Uint8Array): void {
    const size = av1SequenceSize(obus) ?? this.header;
    if (size !== undefined) {
      this.header = updated(this.header, size, { obstacle: this.#obstacle, reordering: false });
    }
  }
}

class VpxBitstream implements VideoBitstream {
  readonly codec: 'vp8' | 'vp9';
  header: StreamHeader | undefined;

  constructor(codec: 'vp8' | 'vp9') {
    this.codec = codec;
  }

  /** vpcC repeats what every key frame says. */
  configure(): void {
    // nothing to keep
  }

  complete(data: Uint8Array, key: boolean): CodedPicture {
    if (key) {
      this.#readHeader(data);
    }
    return { key, nals: [], data };
  }

  #readHeader(data: Uint8Array): void {
    if (this.codec === 'vp8') {
      const header = parseVp8Header(data);
      if (header?.key === true) {
        this.header = updated(this.header, header, { obstacle: undefined, reordering: false });
      }
      return;
    }
    const header = parseVp9KeyHeader(data);
    if (header !== undefined) {
      const obstacle = header.profile > 0 ? `VP9 profile ${header.profile}` : undefined;
      this.header = updated(this.header, header, { obstacle, reordering: false });
    }
  }
}
