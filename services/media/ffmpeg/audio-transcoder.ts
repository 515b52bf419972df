import { ServiceError } from '../../base/errors.ts';
import { SafeEmitter } from '../../base/events.ts';
import { StreamReading } from '../../base/stream-reading.ts';
import type { AudioFormat } from '../../model/packet.ts';
import { AdtsReader } from './adts.ts';
import { audioTranscodeArgs } from './args.ts';
import { createAudioInputWriter, type AudioInputWriter } from './audio-input-writer.ts';
import type {
  AudioTranscodeOutput,
  AudioTranscoder,
  AudioTranscoderEvents,
  AudioTranscoderOptions,
} from './audio-transcoder-types.ts';
import { EncoderChild } from './encoder-child.ts';
import { OggReader } from './ogg-reader.ts';

const MAX_BACKLOG_BYTES = 4_000_000;
/**
 * Input is handed over in pieces of at least this length: every write wakes ffmpeg, and on a virtual machine a wake-up
 * costs more than the sound in it. AAC comes 60 ms at a time from an RTMP encoder, which is two frames or three; two must
 * not wait for the next.
 */
const WRITE_US = { encoded: 40_000, pcm: 60_000 } as const;
/**
 * ffmpeg answers a piece with one write per 20 ms of sound, and each would wake this process: what it has written after
 * this time is taken at once.
 */
const SETTLE_MS = 8;
const AAC_FRAME_SAMPLES = 1024;
/** libopus at 48 kHz with 20 ms frames. */
const OPUS_FRAME_SAMPLES = 960;
/** ffmpeg's AAC encoder puts one frame in front (AVCodecContext.initial_padding). */
const AAC_PRIMING_SAMPLES = 1024;

/**
 * Live audio transcoding through one ffmpeg child, about 100 ms behind its input.
 * @throws ServiceError invalid_argument for an AAC configuration that ADTS cannot carry.
 */
export function createAudioTranscoder(options: AudioTranscoderOptions): AudioTranscoder {
  return new FfmpegAudioTranscoder(options);
}

type EncodedFrame = { data: Uint8Array; positionSamples: number; format?: AudioFormat };
class FfmpegAudioTranscoder implements AudioTranscoder {
  readonly events: SafeEmitter<AudioTranscoderEvents>;
  readonly #options: AudioTranscoderOptions;
  readonly #child: EncoderChild;
  readonly #input: AudioInputWriter;
  readonly #readFrames: (bytes: Uint8Array) => EncodedFrame[];
  #formatSent = false;
  #lastPtsUs = -Infinity;
  #droppedChunks = 0;
  #held: Uint8Array[] = [];
  #heldUs = 0;
  /** Sound handed over that has not come out yet, and the least of it so far: what ffmpeg always keeps. */
  #insideUs = 0;
  #leastInsideUs = Infinity;
  #flushQueued = false;
  readonly #reading: StreamReading;

  constructor(options: AudioTranscoderOptions) {
    this.#options = options;
    this.events = new SafeEmitter(options.logger);
    this.#input = createAudioInputWriter(options.input);
    this.#readFrames = createFrameReader(options.output);
    this.#child = new EncoderChild({
      ffmpegPath: options.ffmpegPath,
      args: audioTranscodeArgs(options.input, options.output, options.mixed),
      logger: options.logger,
      ...(options.signal === undefined ? {} : { signal: options.signal }),
      what: 'audio transcoding',
      onEnded: (error) => this.events.emit('closed', error === undefined ? {} : { error }),
    });
    const { stdout, ended } = this.#child.process;
    this.#reading = new StreamReading(stdout);
    stdout.on('data', (bytes: Buffer) => {
      this.#onOutput(bytes);
    });
    void ended.then(() => {
      this.#reading.start();
    });
  }

  get droppedChunks(): number {
    return this.#droppedChunks;
  }

  write(chunk: { ptsUs: number; data: Uint8Array }): void {
    const { stdin } = this.#child.process;
    if (!this.#child.isOpen) {
      return;
    }
    if (stdin.writableLength > MAX_BACKLOG_BYTES) {
      this.#droppedChunks++;
      return;
    }
    const { timeline, samplesOf, toBytes, silence } = this.#input;
    const samples = samplesOf(chunk.data);
    const { silenceSamples, skipSamples } = timeline.advance(chunk.ptsUs, samples);
    if (silenceSamples > 0) {
      this.#hold(silence(silenceSamples), silenceSamples);
    }
    if (skipSamples < samples) {
      this.#hold(toBytes(chunk.data, skipSamples), samples - skipSamples);
    }
    if (this.#heldUs >= this.#writeUs && !this.#flushQueued) {
      // Behind the caller's loop: frames that came in one piece go out in one piece.
      this.#flushQueued = true;
      queueMicrotask(() => {
        this.#flushQueued = false;
        this.#flush();
      });
    }
  }

  #hold(bytes: Uint8Array, samples: number): void {
    this.#held.push(bytes);
    this.#heldUs += (samples * 1e6) / this.#input.sampleRateHz;
  }

  #flush(): void {
    const { stdin } = this.#child.process;
    if (this.#held.length > 0 && stdin.writable) {
      this.#insideUs += this.#heldUs;
      stdin.write(Buffer.concat(this.#held));
      this.#settle();
    }
    this.#held = [];
    this.#heldUs = 0;
  }

  /** Lets ffmpeg finish before its output is read. */
  #settle(): void {
    this.#reading.stop();
    setTimeout(() => {
      this.#collect();
    }, SETTLE_MS);
  }

  /** Takes ffmpeg's answer; when some of it is still to come, or nothing ever will, that wakes us. */
  #collect(): void {
    const bytes = this.#child.isOpen ? this.#reading.take() : undefined;
    if (bytes !== undefined) {
      this.#onOutput(bytes);
    }
    this.#leastInsideUs = Math.min(this.#leastInsideUs, this.#insideUs);
    if (bytes === undefined || this.#insideUs >= this.#leastInsideUs + this.#frameUs) {
      this.#reading.start();
    }
  }

  get #writeUs(): number {
    return this.#options.input.codec === 'pcm_s16le' ? WRITE_US.pcm : WRITE_US.encoded;
  }

  get #frameUs(): number {
    const { codec, sampleRateHz } = this.#options.output;
    return ((codec === 'opus' ? OPUS_FRAME_SAMPLES : AAC_FRAME_SAMPLES) * 1e6) / sampleRateHz;
  }

  close(): Promise<void> {
    if (this.#child.isOpen) {
      this.#flush();
      this.#reading.start();
    }
    return this.#child.close();
  }

  #onOutput(bytes: Uint8Array): void {
    this.#child.read(() => {
      for (const frame of this.#readFrames(bytes)) {
        this.#insideUs -= this.#frameUs;
        this.#emitFrame(frame);
      }
    });
  }

  #emitFrame(frame: EncodedFrame): void {
    if (frame.format !== undefined && !this.#formatSent) {
      this.#formatSent = true;
      this.events.emit('format', frame.format);
    }
    const { codec, sampleRateHz } = this.#options.output;
    const frameSamples = codec === 'opus' ? OPUS_FRAME_SAMPLES : AAC_FRAME_SAMPLES;
    if (frame.positionSamples + frameSamples <= 0) {
      return; // holds nothing but encoder priming
    }
    const ptsUs = this.#input.timeline.ptsAt((frame.positionSamples * 1e6) / sampleRateHz);
    if (ptsUs <= this.#lastPtsUs) {
      return; // the input clock went back; wait until it is past what was already heard
    }
    this.#lastPtsUs = ptsUs;
    this.events.emit('packet', {
      kind: 'audio',
      ptsUs,
      dtsUs: ptsUs,
      durationUs: Math.round((frameSamples * 1e6) / sampleRateHz),
      key: true,
      data: frame.data,
    });
  }
}

/** Turns ffmpeg's output bytes into frames whose position counts from the first input sample. */
function createFrameReader(output: AudioTranscodeOutput): (bytes: Uint8Array) => EncodedFrame[] {
  let frameCount = 0;
  if (output.codec === 'aac') {
    const reader = new AdtsReader();
    return (bytes) =>
      reader.push(bytes).map((frame) => ({
        data: frame.data,
        positionSamples: frameCount++ * AAC_FRAME_SAMPLES - AAC_PRIMING_SAMPLES,
        format: {
          kind: 'audio',
          codec: 'aac',
          sampleRateHz: frame.sampleRateHz,
          channels: frame.channels,
          description: frame.description,
        },
      }));
  }
  const reader = new OggReader();
  let headers = 0;
  let head: { format: AudioFormat; preSkipSamples: number } | undefined;
  return (bytes) => {
    const frames: EncodedFrame[] = [];
    for (const packet of reader.push(bytes)) {
      if (head === undefined) {
        head = parseOpusHead(packet);
      }
      if (headers < 2) {
        headers++; // OpusHead, OpusTags
        continue;
      }
      frames.push({
        data: packet,
        positionSamples: frameCount++ * OPUS_FRAME_SAMPLES - head.preSkipSamples,
        format: head.format,
      });
    }
    return frames;
  };
}

/** RFC 7845 section 5.1. */
function parseOpusHead(packet: Uint8Array): { format: AudioFormat; preSkipSamples: number } {
  const head = Buffer.from(packet);
  if (head.length < 19 || head.toString('latin1', 0, 8) !== 'OpusHead') {
    throw new ServiceError('internal', 'ffmpeg output does not start with OpusHead');
  }
  return {
    format: { kind: 'audio', codec: 'opus', sampleRateHz: 48_000, channels: head.readUInt8(9) },
    preSkipSamples: head.readUInt16LE(10),
  };
}
