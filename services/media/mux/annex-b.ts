/** NAL units of an Annex B byte stream (ITU-T H.264 annex B), without start codes and trailing zeros. */
export function splitAnnexB(data: Uint8Array): Uint8Array[] {
  const units: Uint8Array[] = [];
  let start = -1;
  for (let i = 0; i + 2 < data.length; i++) {
    if (data[i] === 0 && data[i + 1] === 0 && data[i + 2] === 1) {
      if (start >= 0) {
        units.push(trimZeros(data.subarray(start, i)));
      }
      start = i + 3;
      i += 2;
    }
  }
  if (start >= 0) {
    units.push(data.subarray(start));
  }
  return units.filter((unit) => unit.length > 0);
}

function trimZeros(unit: Uint8Array): Uint8Array {
  let end = unit.length;
  while (end > 0 && unit[end - 1] === 0) {
    end--;
  }
  return unit.subarray(0, end);
}

export const NAL_SPS = 7;
export const NAL_PPS = 8;

export function nalType(unit: Uint8Array): number {
  return (unit[0] ?? 0) & 31;
}

/** NAL units behind 4-byte lengths, the form MP4 keeps (ISO/IEC 14496-15 5.3.2). */
export function toLengthPrefixed(units: readonly Uint8Array[]): Uint8Array {
  const out = Buffer.allocUnsafe(units.reduce((sum, unit) => sum + 4 + unit.length, 0));
  let offset = 0;
  for (const unit of units) {
    out.writeUInt32BE(unit.length, offset);
    out.set(unit, offset + 4);
    offset += 4 + unit.length;
  }
  return out;
}
