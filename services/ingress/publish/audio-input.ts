import { ServiceError } from '../../base/errors.ts';
import { SafeEmitter } from '../../base/events.ts';
import { parseOpusPacket } from '../../media/codecs/opus.ts';
import type { AudioFormat, EncodedPacket } from '../../model/packet.ts';
import { parseRtmpAudio, type RtmpAudio, type RtmpAudioCodec } from '../../protocol/flv-enhanced.ts';
import { AudioPipeline, type AudioPipelineEvents, type AudioPipelineOptions } from './audio-pipeline.ts';
import { MonotonicTime } from './encoder-clock.ts';

/** RFC 7845 section 5.1: magic, version, channel count. */
const OPUS_HEAD_BYTES = 19;
const OPUS_CHANNELS_OFFSET = 9;

/** Audio messages of any codec: Opus passes untouched, others are made into Opus. Only the first track is heard. */
export class AudioInput {
  readonly events: SafeEmitter<AudioPipelineEvents>;
  readonly #converted: AudioPipeline;
  readonly #time = new MonotonicTime();
  #codec: RtmpAudioCodec | undefined;
  #trackId: number | undefined;
  /** Undefined: more than browsers take. */
  #opusChannels: 1 | 2 | undefined = 2;
  #opusSeen = false;
  #published = false;

  constructor(options: AudioPipelineOptions) {
    this.events = new SafeEmitter(options.logger);
    this.#converted = new AudioPipeline(options);
    this.#converted.events.on('format', (format) => {
      this.#announce(format);
    });
    this.#converted.events.on('packet', (packet) => {
      // What the transcoder still held when the encoder went over to Opus would come behind it.
      if (this.#codec !== 'opus') {
        this.#emit(packet);
      }
    });
    this.#converted.events.on('failed', (failure) => {
      this.events.emit('failed', failure);
    });
  }

  /** As the encoder sends it; aac until it says otherwise. */
  get codec(): RtmpAudioCodec {
    return this.#codec ?? 'aac';
  }

  /** What the encoder sends; undefined before it has told. */
  get source(): { channels: number; outputSampleRateHz: number } | undefined {
    return this.#opusSeen && this.#codec === 'opus'
      ? { channels: this.#opusChannels ?? 0, outputSampleRateHz: 48_000 }
      : this.#converted.source;
  }

  /** @param ptsUs on the session clock. @throws ServiceError malformed, unimplemented, invalid_argument. */
  push(ptsUs: number, body: Buffer): void {
    for (const message of parseRtmpAudio(body)) {
      this.#trackId ??= message.trackId;
      if (message.trackId === this.#trackId && message.audio.data.length > 0) {
        this.#take(ptsUs, message);
      }
    }
  }

  /** Sound is missing. */
  interrupted(): void {
    this.#converted.interrupted();
  }

  async close(): Promise<void> {
    await this.#converted.close();
  }

  #take(ptsUs: number, message: RtmpAudio): void {
    const { codec, audio } = message;
    if (codec === 'opus' && this.#codec !== 'opus' && this.#codec !== undefined) {
      this.#converted.interrupted();
    }
    this.#codec = codec;
    if (codec !== 'opus') {
      this.#converted.push(ptsUs, { ...message, codec });
    } else if (audio.packet === 'config') {
      this.#opusChannels = undefined;
      this.#opusChannels = channelsOf(audio.data);
    } else if (this.#opusChannels !== undefined) {
      this.#passOpus(ptsUs, audio.data, this.#opusChannels);
    }
  }

  #passOpus(ptsUs: number, data: Buffer, channels: number): void {
    const { durationUs } = parseOpusPacket(data);
    this.#opusSeen = true;
    this.#announce({ kind: 'audio', codec: 'opus', sampleRateHz: 48_000, channels });
    this.#emit({ kind: 'audio', ptsUs, dtsUs: ptsUs, durationUs, key: true, data });
  }

  /** The track is the same, whatever the encoder sends: a room gets Opus. */
  #announce(format: AudioFormat): void {
    if (!this.#published) {
      this.#published = true;
      this.events.emit('format', format);
    }
  }

  #emit(packet: EncodedPacket): void {
    const timeUs = this.#time.next(packet.ptsUs);
    this.events.emit('packet', { ...packet, ptsUs: timeUs, dtsUs: timeUs });
  }
}

/** @throws ServiceError malformed, unimplemented for more than stereo, which WebRTC does not carry. */
function channelsOf(head: Buffer): 1 | 2 {
  if (head.length < OPUS_HEAD_BYTES || head.toString('latin1', 0, 8) !== 'OpusHead') {
    throw new ServiceError('malformed', `Opus identification header of ${head.length} bytes is not one`);
  }
  const channels = head.readUInt8(OPUS_CHANNELS_OFFSET);
  if (channels !== 1 && channels !== 2) {
    throw new ServiceError(
      'unimplemented',
      `Opus with ${channels} channels is not supported: set the encoder to stereo`,
    );
  }
  return channels;
}
