import { ServiceError } from '../../base/errors.ts';
import { SafeEmitter } from '../../base/events.ts';
import { parseOpusPacket } from '../../media/codecs/opus.ts';
import type { AudioFormat, EncodedPacket } from '../../model/packet.ts';
import { flvAudioBody, type FlvAudio } from '../../protocol/flv.ts';
import { parseRtmpAudio, type RtmpAudio } from '../../protocol/flv-enhanced.ts';
import { AudioPipeline, type AudioPipelineEvents, type AudioPipelineOptions } from './audio-pipeline.ts';
import { MonotonicTime } from './encoder-clock.ts';

const ENHANCED = 9;
/** RFC 7845 section 5.1: magic, version, channel count. */
const OPUS_HEAD_BYTES = 19;
const OPUS_CHANNELS_OFFSET = 9;

/** Audio messages of any codec: Opus passes untouched, AAC is made into Opus. Only the first track is heard. */
export class AudioInput {
  readonly events: SafeEmitter<AudioPipelineEvents>;
  readonly #aac: AudioPipeline;
  readonly #time = new MonotonicTime();
  #codec: RtmpAudio['codec'] | undefined;
  #trackId: number | undefined;
  #opusChannels = 2;
  #opusSeen = false;
  #published = false;

  constructor(options: AudioPipelineOptions) {
    this.events = new SafeEmitter(options.logger);
    this.#aac = new AudioPipeline(options);
    this.#aac.events.on('format', (format) => {
      this.#announce(format);
    });
    this.#aac.events.on('packet', (packet) => {
      // What the transcoder still held when the encoder went over to Opus would come behind it.
      if (this.#codec !== 'opus') {
        this.#emit(packet);
      }
    });
    this.#aac.events.on('failed', (failure) => {
      this.events.emit('failed', failure);
    });
  }

  /** As the encoder sends it; aac until it says otherwise. */
  get codec(): RtmpAudio['codec'] {
    return this.#codec ?? 'aac';
  }

  /** What the encoder sends; undefined before it has told. */
  get source(): { channels: number; outputSampleRateHz: number } | undefined {
    return this.#opusSeen && this.#codec === 'opus'
      ? { channels: this.#opusChannels, outputSampleRateHz: 48_000 }
      : this.#aac.source;
  }

  /** @param ptsUs on the session clock. @throws ServiceError malformed, unimplemented, invalid_argument. */
  push(ptsUs: number, body: Buffer): void {
    if ((body[0] ?? 0) >> 4 !== ENHANCED && this.#codec !== 'opus') {
      this.#aac.push(ptsUs, body);
      return;
    }
    for (const { codec, trackId, audio } of parseRtmpAudio(body)) {
      this.#trackId ??= trackId;
      if (trackId === this.#trackId && audio.data.length > 0) {
        this.#take(ptsUs, codec, audio);
      }
    }
  }

  /** Sound is missing. */
  interrupted(): void {
    this.#aac.interrupted();
  }

  async close(): Promise<void> {
    await this.#aac.close();
  }

  #take(ptsUs: number, codec: RtmpAudio['codec'], audio: FlvAudio): void {
    if (codec === 'opus' && this.#codec === 'aac') {
      this.#aac.interrupted();
    }
    this.#codec = codec;
    if (codec === 'aac') {
      this.#aac.push(ptsUs, Buffer.concat(flvAudioBody(audio)));
    } else if (audio.packet === 'config') {
      this.#opusChannels = channelsOf(audio.data);
    } else {
      this.#passOpus(ptsUs, audio.data);
    }
  }

  #passOpus(ptsUs: number, data: Buffer): void {
    const { durationUs } = parseOpusPacket(data);
    this.#opusSeen = true;
    this.#announce({ kind: 'audio', codec: 'opus', sampleRateHz: 48_000, channels: this.#opusChannels });
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
