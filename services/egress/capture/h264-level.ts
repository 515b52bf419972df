/** Rec. ITU-T H.264 table A-1: macroblocks per second and per frame that each level allows. */
const LEVELS = [
  { idc: 30, macroblocksPerS: 40_500, macroblocks: 1_620 },
  { idc: 31, macroblocksPerS: 108_000, macroblocks: 3_600 },
  { idc: 32, macroblocksPerS: 216_000, macroblocks: 5_120 },
  { idc: 40, macroblocksPerS: 245_760, macroblocks: 8_192 },
  { idc: 42, macroblocksPerS: 522_240, macroblocks: 8_704 },
  { idc: 50, macroblocksPerS: 589_824, macroblocks: 22_080 },
  { idc: 51, macroblocksPerS: 983_040, macroblocks: 36_864 },
  { idc: 52, macroblocksPerS: 2_073_600, macroblocks: 36_864 },
] as const;

/**
 * The WebCodecs codec string (RFC 6381) of constrained baseline, the only profile of Chrome's own encoder, at
 * the lowest level that carries this picture: "avc1.42E01F" for 1280x720 at 30.
 */
export function h264CodecString(width: number, height: number, framerate: number): string {
  const macroblocks = Math.ceil(width / 16) * Math.ceil(height / 16);
  const level =
    LEVELS.find((l) => l.macroblocks >= macroblocks && l.macroblocksPerS >= macroblocks * framerate) ??
    LEVELS[LEVELS.length - 1];
  return `avc1.42E0${(level?.idc ?? 52).toString(16).padStart(2, '0').toUpperCase()}`;
}
