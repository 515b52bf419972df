/** Of the pictures of a stream, as its headers say it. */
export type SampleFormat = { chromaFormat: string; bitDepth: number; progressive: boolean };

/** Why browsers could not show such pictures as they come: they decode 8-bit 4:2:0, and show fields as frames. */
export function sampleObstacle({ chromaFormat, bitDepth, progressive }: SampleFormat): string | undefined {
  if (chromaFormat !== '4:2:0') {
    return `${chromaFormat} chroma`;
  }
  if (bitDepth !== 8) {
    return `${bitDepth}-bit samples`;
  }
  return progressive ? undefined : 'interlaced';
}
