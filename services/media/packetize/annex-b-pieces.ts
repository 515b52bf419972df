const START_CODE = Uint8Array.of(0, 0, 0, 1);

/** Joins NAL units, each given in one or more pieces, to an Annex B stream with four-byte start codes in one copy. */
export function joinAnnexBPieces(units: readonly (readonly Uint8Array[])[]): Uint8Array {
  let length = 0;
  for (const pieces of units) {
    length += START_CODE.length;
    for (const piece of pieces) {
      length += piece.length;
    }
  }
  const out = new Uint8Array(length);
  let offset = 0;
  for (const pieces of units) {
    out.set(START_CODE, offset);
    offset += START_CODE.length;
    for (const piece of pieces) {
      out.set(piece, offset);
      offset += piece.length;
    }
  }
  return out;
}
