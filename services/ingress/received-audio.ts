import { SafeEmitter } from '../base/events.ts';
import type { Logger } from '../base/logger.ts';
import { OpusTrackDecoder, type DecodedOpus } from '../media/audio/opus-track-decoder.ts';
import type { AudioTranscoder } from '../media/ffmpeg/audio-transcoder-types.ts';
import { createAudioTranscoder } from '../media/ffmpeg/audio-transcoder.ts';
import type { AudioFormat, EncodedPacket } from '../model/packet.ts';

export type ReceivedAudioEvents = {
  /** Before the first packet. */
  format: AudioFormat;
  packet: EncodedPacket;
  failed: { error: Error };
};

export type ReceivedAudioOptions = {
  ffmpegPath: string;
  /** Opus as it comes is right: nobody asked for another. */
  passthrough: boolean;
  channels: 1 | 2;
  bitrateKbps: number;
  logger: Logger;
};

const RATE_HZ = 48_000;

/** Opus as a receiver of a room gets it in; untouched, or decoded and encoded as asked for, out. */
export class ReceivedAudio {
  readonly events: SafeEmitter<ReceivedAudioEvents>;
  readonly #options: ReceivedAudioOptions;
  readonly #decoder: Promise<OpusTrackDecoder> | undefined;
  #ready: OpusTrackDecoder | undefined;
  #transcoder: AudioTranscoder | undefined;
  #announced = false;
  #closed = false;

  constructor(options: ReceivedAudioOptions) {
    this.#options = options;
    this.events = new SafeEmitter(options.logger);
    if (options.passthrough) {
      return;
    }
    this.#decoder = OpusTrackDecoder.create();
    this.#decoder.then(
      (decoder) => {
        this.#ready = decoder;
      },
      (error: unknown) => {
        this.events.emit('failed', { error: error instanceof Error ? error : new Error(String(error)) });
      },
    );
  }

  write(packet: EncodedPacket): void {
    if (this.#closed) {
      return;
    }
    if (this.#options.passthrough) {
      if (!this.#announced) {
        this.#announced = true;
        this.events.emit('format', { kind: 'audio', codec: 'opus', sampleRateHz: RATE_HZ, channels: 2 });
      }
      this.events.emit('packet', packet);
      return;
    }
    const decoded = this.#ready?.decode(packet.data);
    if (decoded !== undefined) {
      this.#transcoder ??= this.#start();
      this.#transcoder.write({ ptsUs: packet.ptsUs, data: interleaved(decoded) });
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#transcoder?.close();
    const decoder = await this.#decoder?.catch(() => undefined);
    decoder?.free();
  }

  #start(): AudioTranscoder {
    const { ffmpegPath, channels, bitrateKbps, logger } = this.#options;
    const transcoder = createAudioTranscoder({
      ffmpegPath,
      logger,
      input: { codec: 'pcm_s16le', sampleRateHz: RATE_HZ, channels: 2 },
      output: { codec: 'opus', sampleRateHz: RATE_HZ, channels, bitrateKbps },
    });
    transcoder.events.on('format', (format) => this.events.emit('format', format));
    transcoder.events.on('packet', (packet) => this.events.emit('packet', packet));
    transcoder.events.on('closed', ({ error }) => {
      if (error !== undefined && !this.#closed) {
        this.events.emit('failed', { error });
      }
    });
    return transcoder;
  }
}

function interleaved({ left, right }: DecodedOpus): Buffer {
  const pcm = Buffer.allocUnsafe(left.length * 4);
  for (let i = 0; i < left.length; i += 1) {
    pcm.writeInt16LE(sample(left[i] ?? 0), i * 4);
    pcm.writeInt16LE(sample(right[i] ?? 0), i * 4 + 2);
  }
  return pcm;
}

function sample(value: number): number {
  return Math.max(-32_768, Math.min(32_767, Math.round(value * 32_767)));
}
