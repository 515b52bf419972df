/** RTP-only NAL unit types, RFC 6184 table 1. */
export const RTP_NAL = { stapA: 24, fuA: 28 } as const;

/** Slices and slice data partitions: the units that carry picture data. */
export function isVideoCodingLayer(type: number): boolean {
  return type >= 1 && type <= 5;
}
