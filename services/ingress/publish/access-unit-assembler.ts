import {
  isKeyframe,
  joinAnnexB,
  NAL_TYPE,
  nalType,
  replaceLengthsByStartCodes,
  splitLengthPrefixed,
  withoutDelimiters,
  type NalLengthSize,
} from '../../media/codecs/h264.ts';
import { parseAvcConfig } from '../../media/codecs/h264-avcc.ts';

export type AccessUnit = {
  /** Without delimiters, filler and parameter sets that only repeat what is in front of the key frame. */
  nals: readonly Uint8Array[];
  key: boolean;
  /** Annex B, with all parameter sets in front of a key frame. */
  data: Uint8Array;
};

/**
 * Turns FLV's length-prefixed H.264 into Annex B access units from which a decoder can start at every key frame.
 * Parameter sets come from the sequence header and from the stream itself; the newest of each id counts.
 */
export class AccessUnitAssembler {
  #lengthSize: NalLengthSize = 4;
  #sps = new Map<number, Uint8Array>();
  #pps = new Map<number, Uint8Array>();

  /** @throws ServiceError malformed */
  configure(avcConfig: Uint8Array): void {
    const config = parseAvcConfig(avcConfig);
    this.#lengthSize = config.lengthSize;
    this.#sps = new Map(config.sps.map((nal) => [parameterSetId(nal), nal]));
    this.#pps = new Map(config.pps.map((nal) => [parameterSetId(nal), nal]));
  }

  /** The sequence parameter set that counts now; undefined before the first. */
  get sps(): Uint8Array | undefined {
    return this.#sps.values().next().value;
  }

  get parameterSets(): { sps: Uint8Array[]; pps: Uint8Array[] } {
    return { sps: [...this.#sps.values()], pps: [...this.#pps.values()] };
  }

  /**
   * Undefined for an access unit that carries no picture, or that comes before any parameter set. Takes `data` over:
   * most frames become Annex B in place.
   * @throws ServiceError malformed when a NAL unit's length lies.
   */
  assemble(data: Uint8Array): AccessUnit | undefined {
    const all = withoutDelimiters(splitLengthPrefixed(data, this.#lengthSize));
    this.#learn(all);
    if (this.#sps.size === 0 || this.#pps.size === 0 || !all.some(isSlice)) {
      return undefined;
    }
    const key = isKeyframe(all);
    const filled = all.reduce((sum, nal) => sum + 4 + nal.length, 0) === data.length;
    if (!key && this.#lengthSize === 4 && filled) {
      replaceLengthsByStartCodes(data, all);
      return { nals: all, key, data };
    }
    const nals = key ? all.filter((nal) => !isParameterSet(nal)) : all;
    const parameterSets = key ? [...this.#sps.values(), ...this.#pps.values()] : [];
    return { nals, key, data: joinAnnexB([...parameterSets, ...nals]) };
  }

  #learn(nals: readonly Uint8Array[]): void {
    for (const nal of nals) {
      if (nalType(nal) === NAL_TYPE.sps) {
        this.#sps.set(parameterSetId(nal), nal);
      } else if (nalType(nal) === NAL_TYPE.pps) {
        this.#pps.set(parameterSetId(nal), nal);
      }
    }
  }
}

function isParameterSet(nal: Uint8Array): boolean {
  return nalType(nal) === NAL_TYPE.sps || nalType(nal) === NAL_TYPE.pps;
}

function isSlice(nal: Uint8Array): boolean {
  const type = nalType(nal);
  return type >= NAL_TYPE.slice && type <= NAL_TYPE.idr;
}

/** Leading Exp-Golomb number behind the header (PPS) or behind profile and level (SPS); ids are 0 … 255. */
function parameterSetId(nal: Uint8Array): number {
  const start = nalType(nal) === NAL_TYPE.sps ? 4 : 1;
  const bits = ((nal[start] ?? 0) << 16) | ((nal[start + 1] ?? 0) << 8) | (nal[start + 2] ?? 0);
  const zeros = Math.clz32(bits) - 8;
  return zeros > 8 ? 0 : (bits >> (23 - 2 * zeros)) - 1;
}
