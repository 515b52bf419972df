import { parseSps, type SpsInfo } from '../../media/codecs/h264-sps.ts';
import { AccessUnitAssembler } from './access-unit-assembler.ts';
import { sampleObstacle } from './sample-format.ts';
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

/** Browsers decode every profile of 8-bit 4:2:0 progressive pictures. */
export function h264Header(sps: SpsInfo): StreamHeader {
  const { width, height, framerate } = sps;
  const bitDepth = Math.max(sps.bitDepthLuma, sps.bitDepthChroma);
  return {
    width,
    height,
    framerate,
    obstacle: sampleObstacle({ ...sps, bitDepth }),
    reordering: reorderingFrom(sps),
  };
}

function reorderingFrom(sps: SpsInfo): boolean | undefined {
  if (sps.profileIdc === BASELINE || sps.pictureOrderCountType === 2) {
    return false;
  }
  return sps.maxReorderFrames === undefined ? undefined : sps.maxReorderFrames > 0;
}
