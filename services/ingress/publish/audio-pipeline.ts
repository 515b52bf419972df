import { SafeEmitter } from '../../base/events.ts';
import type { Logger } from '../../base/logger.ts';
import { parseAacConfig } from '../../media/codecs/aac.ts';
import { parseAudioFrames } from '../../media/codecs/audio-frames.ts';
import { parseFlacConfig } from '../../media/codecs/flac.ts';
import type { AudioTranscodeInput, AudioTranscoder } from '../../media/ffmpeg/audio-transcoder-types.ts';
import { createAudioTranscoder } from '../../media/ffmpeg/audio-transcoder.ts';
import type { IngressSettings } from '../../model/ingress.ts';
import type { AudioFormat, EncodedPacket } from '../../model/packet.ts';
import type { RtmpAudio, RtmpAudioCodec } from '../../protocol/flv-enhanced.ts';
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

/** All but Opus, which needs no pipeline. */
export type ConvertedAudio = RtmpAudio & { codec: Exclude<RtmpAudioCodec, 'opus'> };
type SourceFormat = { channels: number; outputSampleRateHz: number };

/** AAC, MP3 and other sound in, Opus out: browsers take none of it over RTP. */
export class AudioPipeline {
  readonly events: SafeEmitter<AudioPipelineEvents>;
  readonly #options: AudioPipelineOptions;
  readonly #time = new MonotonicTime();
  /** What the transcoder was started for; a change of it takes another one. */
  #startedFor: Buffer | undefined;
  #source: SourceFormat | undefined;
  #transcoder: AudioTranscoder | undefined;
  #formatSent = false;
  #closed = false;

  constructor(options: AudioPipelineOptions) {
    this.#options = options;
    this.events = new SafeEmitter(options.logger);
  }

  /** What the encoder sends; undefined before it has told. */
  get source(): SourceFormat | undefined {
    return this.#source;
  }

  /** @throws ServiceError malformed, unimplemented, invalid_argument: the encoder's fault. */
  push(ptsUs: number, { codec, audio, raw }: ConvertedAudio): void {
    if (audio.data.length === 0) {
      return; // some encoders send an empty configuration first
    }
    if (audio.packet === 'config') {
      this.#configure(codec, audio.data);
      return;
    }
    if (codec === 'mp3' || codec === 'ac3' || codec === 'eac3') {
      const { sampleRateHz, channels } = parseAudioFrames(codec, audio.data);
      this.#start({ codec, sampleRateHz, channels });
    } else if (raw !== undefined && codec !== 'aac' && codec !== 'flac') {
      this.#start({ codec, ...raw });
    }
    this.#transcoder?.write({ ptsUs, data: audio.data });
  }

  /** Sound is missing: what was written so far comes out, and what comes next starts anew. */
  interrupted(): void {
    this.#startedFor = undefined;
    this.#replaceTranscoder(undefined);
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#transcoder?.close();
  }

  #configure(codec: ConvertedAudio['codec'], description: Buffer): void {
    if (codec === 'aac') {
      const { sampleRateHz, channels, outputSampleRateHz, outputChannels } = parseAacConfig(description);
      this.#start(
        { codec, sampleRateHz, channels, description },
        { outputSampleRateHz, channels: outputChannels },
      );
    } else if (codec === 'flac') {
      const { streamInfo, sampleRateHz, channels } = parseFlacConfig(description);
      this.#start({ codec, sampleRateHz, channels, description: streamInfo });
    }
  }

  /** @param decoded when that is more than the core it is decoded from. */
  #start(input: AudioTranscodeInput, decoded?: SourceFormat): void {
    const description = 'description' in input ? input.description : undefined;
    const { codec, sampleRateHz, channels } = input;
    const startsFor = Buffer.concat([
      Buffer.from(`${codec} ${sampleRateHz} ${channels} `),
      description ?? new Uint8Array(),
    ]);
    if (this.#startedFor?.equals(startsFor) === true) {
      return;
    }
    const transcoder = this.#create(input);
    this.#startedFor = startsFor;
    this.#source = decoded ?? { channels, outputSampleRateHz: sampleRateHz };
    this.#replaceTranscoder(transcoder);
  }

  #replaceTranscoder(next: AudioTranscoder | undefined): void {
    const previous = this.#transcoder;
    this.#transcoder = next;
    previous?.close().catch((error: unknown) => {
      this.#options.logger.warn({ err: error }, 'audio transcoder did not close');
    });
  }

  #create(input: AudioTranscodeInput): AudioTranscoder {
    const { ffmpegPath, logger, settings } = this.#options;
    const transcoder = createAudioTranscoder({
      ...{ ffmpegPath, logger, input },
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
