import { SafeEmitter } from '../../base/events.ts';
import type { Logger } from '../../base/logger.ts';
import { parseAacConfig, type AacConfig } from '../../media/codecs/aac.ts';
import type { AudioTranscoder } from '../../media/ffmpeg/audio-transcoder-types.ts';
import { createAudioTranscoder } from '../../media/ffmpeg/audio-transcoder.ts';
import type { IngressSettings } from '../../model/ingress.ts';
import type { AudioFormat, EncodedPacket } from '../../model/packet.ts';
import { parseFlvAudio } from '../../protocol/flv.ts';
import { MonotonicTime } from './encoder-clock.ts';

export type AudioPipelineEvents = {
  format: AudioFormat;
  packet: EncodedPacket;
  failed: { error: Error };
};

export type AudioPipelineOptions = {
  settings: IngressSettings['audio'];
  ffmpegPath: string;
  logger: Logger;
};

/** FLV AAC in, Opus out. Browsers take no AAC over RTP, so this always transcodes. */
export class AudioPipeline {
  readonly events: SafeEmitter<AudioPipelineEvents>;
  readonly #options: AudioPipelineOptions;
  readonly #time = new MonotonicTime();
  #description: Uint8Array | undefined;
  #source: AacConfig | undefined;
  #transcoder: AudioTranscoder | undefined;
  #formatSent = false;
  #closed = false;

  constructor(options: AudioPipelineOptions) {
    this.#options = options;
    this.events = new SafeEmitter(options.logger);
  }

  /** What the encoder sends; undefined before its sequence header. */
  get source(): AacConfig | undefined {
    return this.#source;
  }

  /** @throws ServiceError malformed, unimplemented, invalid_argument: the encoder's fault. */
  push(dtsUs: number, body: Buffer): void {
    const audio = parseFlvAudio(body);
    if (audio === undefined || audio.data.length === 0) {
      return; // some encoders send an empty configuration first
    }
    if (audio.packet === 'config') {
      this.#configure(audio.data);
    } else {
      this.#transcoder?.write({ ptsUs: dtsUs, data: audio.data });
    }
  }

  /** Sound is missing: what was written so far comes out, and the next configuration starts anew. */
  interrupted(): void {
    this.#description = undefined;
    this.#replaceTranscoder(undefined);
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#transcoder?.close();
  }

  #configure(description: Buffer): void {
    if (this.#description !== undefined && Buffer.compare(description, this.#description) === 0) {
      return;
    }
    const source = parseAacConfig(description);
    this.#description = description;
    this.#source = source;
    this.#replaceTranscoder(this.#start(source, description));
  }

  #replaceTranscoder(next: AudioTranscoder | undefined): void {
    const previous = this.#transcoder;
    this.#transcoder = next;
    previous?.close().catch((error: unknown) => {
      this.#options.logger.warn({ err: error }, 'audio transcoder did not close');
    });
  }

  #start(source: AacConfig, description: Uint8Array): AudioTranscoder {
    const { ffmpegPath, logger, settings } = this.#options;
    const transcoder = createAudioTranscoder({
      ffmpegPath,
      logger,
      input: {
        codec: 'aac',
        sampleRateHz: source.sampleRateHz,
        channels: source.channels,
        description,
      },
      output: {
        codec: 'opus',
        sampleRateHz: 48_000,
        channels: settings.channels,
        bitrateKbps: settings.bitrateKbps,
      },
    });
    transcoder.events.on('format', (format) => {
      if (!this.#formatSent) {
        this.#formatSent = true;
        this.events.emit('format', format);
      }
    });
    transcoder.events.on('packet', (packet) => {
      const ptsUs = this.#time.next(packet.ptsUs);
      this.events.emit('packet', { ...packet, ptsUs, dtsUs: ptsUs });
    });
    transcoder.events.on('closed', ({ error }) => {
      if (error !== undefined && transcoder === this.#transcoder && !this.#closed) {
        this.events.emit('failed', { error });
      }
    });
    return transcoder;
  }
}
