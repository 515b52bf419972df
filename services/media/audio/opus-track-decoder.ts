import { OpusDecoder } from 'opus-decoder';
import { ServiceError } from '../../base/errors.ts';
import { parseOpusPacket } from '../codecs/opus.ts';

/** Largest packet of one stream: 48 frames of 1275 bytes never occur together; libopus is given no more than this. */
const MAX_PACKET_BYTES = 7_000;
/** A track that brings this many broken packets is no Opus: it is not decoded any further. */
const MAX_ERRORS = 200;

export type DecodedOpus = { left: Float32Array; right: Float32Array };

/** Decodes one Opus track to stereo at 48 kHz, in this process (libopus as WebAssembly). */
export class OpusTrackDecoder {
  readonly #decoder: OpusDecoder;
  #ready = false;
  #freed = false;
  #errors = 0;

  private constructor() {
    this.#decoder = new OpusDecoder({ channels: 2 });
  }

  /** @throws ServiceError internal when WebAssembly cannot be started. */
  static async create(): Promise<OpusTrackDecoder> {
    const created = new OpusTrackDecoder();
    try {
      await created.#decoder.ready;
    } catch (error) {
      throw new ServiceError('internal', 'the Opus decoder could not be started', { cause: error });
    }
    created.#ready = true;
    return created;
  }

  get errors(): number {
    return this.#errors;
  }

  /** Undefined for a packet that cannot be decoded. Never throws. */
  decode(packet: Uint8Array): DecodedOpus | undefined {
    if (!this.#ready || this.#freed || this.#errors >= MAX_ERRORS) {
      return undefined;
    }
    try {
      if (packet.length > MAX_PACKET_BYTES) {
        throw new ServiceError('malformed', `Opus packet of ${packet.length} bytes`);
      }
      parseOpusPacket(packet);
      const { channelData, samplesDecoded } = this.#decoder.decodeFrame(packet);
      const [left, right] = channelData;
      if (samplesDecoded > 0 && left !== undefined && right !== undefined) {
        return { left, right };
      }
    } catch {
      // Counted below, as what libopus refuses.
    }
    this.#errors += 1;
    return undefined;
  }

  free(): void {
    if (this.#ready && !this.#freed) {
      this.#freed = true;
      this.#decoder.free();
    }
  }
}
