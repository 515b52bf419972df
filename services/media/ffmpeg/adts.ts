import { buildAacConfig, buildAdtsHeader, parseAdtsHeader, type AacConfig } from '../codecs/aac.ts';

/** One raw AAC frame behind an ADTS header. @throws ServiceError invalid_argument when ADTS cannot carry it. */
export function toAdts(config: AacConfig, frame: Uint8Array): Uint8Array {
  return Buffer.concat([buildAdtsHeader(config, frame.length), frame]);
}

export type AdtsFrame = { data: Uint8Array; description: Uint8Array; sampleRateHz: number; channels: number };

/** Takes raw AAC frames out of an ADTS byte stream as it arrives. */
export class AdtsReader {
  #buffer: Buffer = Buffer.alloc(0);

  /** @throws ServiceError malformed when the bytes are not ADTS. */
  push(bytes: Uint8Array): AdtsFrame[] {
    this.#buffer = this.#buffer.length === 0 ? Buffer.from(bytes) : Buffer.concat([this.#buffer, bytes]);
    const frames: AdtsFrame[] = [];
    for (;;) {
      const header = parseAdtsHeader(this.#buffer);
      if (header === undefined || this.#buffer.length < header.frameBytes) {
        return frames;
      }
      const { objectType, sampleRateHz, channels, headerBytes, frameBytes } = header;
      frames.push({
        data: new Uint8Array(this.#buffer.subarray(headerBytes, frameBytes)),
        description: buildAacConfig(objectType, sampleRateHz, channels),
        sampleRateHz,
        channels,
      });
      this.#buffer = this.#buffer.subarray(frameBytes);
    }
  }
}
