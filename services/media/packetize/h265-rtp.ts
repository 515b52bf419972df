/** RTP-only NAL unit types, RFC 7798 sections 4.4.2 and 4.4.3. */
export const H265_RTP_NAL = { aggregation: 48, fragmentation: 49 } as const;
/** Of a NAL unit, and of what stands for it in RTP. */
export const H265_HEADER_LENGTH = 2;

/** Types 0 to 31 carry picture data. */
export function isH265Picture(type: number): boolean {
  return type < 32;
}

/** A NAL unit header of another type, everything else as it was. */
export function withH265Type(nal: Uint8Array, type: number): [number, number] {
  return [((nal[0] ?? 0) & 0x81) | (type << 1), nal[1] ?? 0];
}
