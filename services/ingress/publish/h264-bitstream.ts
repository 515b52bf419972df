import { parseSps, type SpsInfo } from '../../media/codecs/h264-sps.ts';
import { AccessUnitAssembler } from './access-unit-assembler.ts';
import type { CodedPicture, StreamHeader, VideoBitstream } from './video-bitstream.ts';

const BASELINE = 66;

/** H.264: its headers are read from the newest sequence parameter set, wherever that came from. */
export class H264Bitstream implements VideoBitstream {
  readonly codec = 'h264';
  header: StreamHeader | undefined;
  readonly #assembler = new AccessUnitAssembler();
  #sps: Uint8Array | undefined;

  get parameterSets(): { sps: Uint8Array[]; pps: Uint8Array[] } {
    return this.#assembler.parameterSets;
  }

  configure(data: Uint8Array): void {
    this.#assembler.configure(data);
    this.#readHeader();
  }

  complete(data: Uint8Array): CodedPicture | undefined {
    const picture = this.#assembler.assemble(data);
    this.#readHeader();
    return picture;
  }

  #readHeader(): void {
    const { sps } = this.#assembler;
    if (sps === undefined || (this.#sps !== undefined && Buffer.compare(sps, this.#sps) === 0)) {
      return;
    }
    this.#sps = sps;
    this.header = h264Header(parseSps(sps));
  }
}

/** Browsers decode every 8-bit 4:2:0 progressive profile; fields they show as they come. */
export function h264Header(sps: SpsInfo): StreamHeader {
  const { width, height, framerate } = sps;
  return { width, height, framerate, obstacle: obstacleIn(sps), reordering: reorderingFrom(sps) };
}

function obstacleIn(sps: SpsInfo): string | undefined {
  if (sps.chromaFormat !== '4:2:0') {
    return `${sps.chromaFormat} chroma`;
  }
  if (sps.bitDepthLuma !== 8 || sps.bitDepthChroma !== 8) {
    return `${Math.max(sps.bitDepthLuma, sps.bitDepthChroma)}-bit samples`;
  }
  return sps.progressive ? undefined : 'interlaced';
}

function reorderingFrom(sps: SpsInfo): boolean | undefined {
  if (sps.profileIdc === BASELINE || sps.pictureOrderCountType === 2) {
    return false;
  }
  return sps.maxReorderFrames === undefined ? undefined : sps.maxReorderFrames > 0;
}
